package reconcile

import (
	"fmt"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// Kustomization is Flux's v1 Kustomization with the two patch fields that v1beta2 had and v1 dropped. Both versions are
// served by our CRD, so an object written as v1beta2 still carries them when it is read as v1.
type Kustomization struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   KustomizationSpec               `json:"spec,omitempty"`
	Status kustomizev1.KustomizationStatus `json:"status,omitempty"`
}

// KustomizationSpec is the v1 spec and the deprecated fields of v1beta2.
type KustomizationSpec struct {
	kustomizev1.KustomizationSpec `json:",inline"`

	PatchesStrategicMerge []apiextensionsv1.JSON    `json:"patchesStrategicMerge,omitempty"`
	PatchesJSON6902       []kustomize.JSON6902Patch `json:"patchesJson6902,omitempty"`
}

// KustomizationList is what the cache lists.
type KustomizationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Kustomization `json:"items"`
}

// Flux returns the object as Flux's v1 type, with the deprecated patches moved into spec.patches in the order in which
// Flux applied them: patches, then patchesStrategicMerge, then patchesJson6902.
func (k *Kustomization) Flux() (*kustomizev1.Kustomization, error) {
	out := &kustomizev1.Kustomization{TypeMeta: k.TypeMeta, ObjectMeta: *k.ObjectMeta.DeepCopy()}
	k.Spec.KustomizationSpec.DeepCopyInto(&out.Spec)
	k.Status.DeepCopyInto(&out.Status)
	for _, p := range k.Spec.PatchesStrategicMerge {
		text, err := yaml.JSONToYAML(p.Raw)
		if err != nil {
			return nil, fmt.Errorf("spec.patchesStrategicMerge: %w", err)
		}
		out.Spec.Patches = append(out.Spec.Patches, kustomize.Patch{Patch: string(text)})
	}
	for _, p := range k.Spec.PatchesJSON6902 {
		text, err := yaml.Marshal(p.Patch)
		if err != nil {
			return nil, fmt.Errorf("spec.patchesJson6902: %w", err)
		}
		out.Spec.Patches = append(out.Spec.Patches, kustomize.Patch{Patch: string(text), Target: p.Target.DeepCopy()})
	}
	return out, nil
}

// DeepCopyObject implements runtime.Object.
func (k *Kustomization) DeepCopyObject() runtime.Object { return k.DeepCopy() }

// DeepCopy returns a copy that shares nothing with k.
func (k *Kustomization) DeepCopy() *Kustomization {
	if k == nil {
		return nil
	}
	out := &Kustomization{TypeMeta: k.TypeMeta}
	k.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	k.Spec.KustomizationSpec.DeepCopyInto(&out.Spec.KustomizationSpec)
	out.Spec.PatchesStrategicMerge = slices.Clone(k.Spec.PatchesStrategicMerge)
	for i := range out.Spec.PatchesStrategicMerge {
		out.Spec.PatchesStrategicMerge[i].Raw = slices.Clone(k.Spec.PatchesStrategicMerge[i].Raw)
	}
	for i := range k.Spec.PatchesJSON6902 {
		out.Spec.PatchesJSON6902 = append(out.Spec.PatchesJSON6902, *k.Spec.PatchesJSON6902[i].DeepCopy())
	}
	k.Status.DeepCopyInto(&out.Status)
	return out
}

// DeepCopyObject implements runtime.Object.
func (l *KustomizationList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	out := &KustomizationList{TypeMeta: l.TypeMeta}
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopy())
	}
	return out
}

// addToScheme registers the types above under Flux's group, in place of Flux's own Go types.
func addToScheme(s *runtime.Scheme) {
	s.AddKnownTypes(kustomizev1.GroupVersion, &Kustomization{}, &KustomizationList{})
	metav1.AddToGroupVersion(s, kustomizev1.GroupVersion)
}
