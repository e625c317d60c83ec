package plan

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Group is the API group whose name prefixes the labels and annotations that rule an object's treatment.
const Group = "kustomize.toolkit.fluxcd.io"

// Labels and annotations on managed objects, as Flux has them.
const (
	LabelName      = Group + "/name"      // owner: the Kustomization's name
	LabelNamespace = Group + "/namespace" // owner: the Kustomization's namespace
	KeySSA         = Group + "/ssa"       // Override (default), Merge, IfNotPresent, Ignore
	KeyForce       = Group + "/force"     // enabled
	KeyPrune       = Group + "/prune"     // disabled
	KeyReconcile   = Group + "/reconcile" // disabled
)

// Owner is the Kustomization that objects belong to.
type Owner struct{ Name, Namespace string }

// String gives "namespace/name".
func (o Owner) String() string { return o.Namespace + "/" + o.Name }

// Owns says whether the object's labels name o.
func (o Owner) Owns(object metav1.Object) bool {
	labels := object.GetLabels()
	return labels[LabelName] == o.Name && labels[LabelNamespace] == o.Namespace
}

// OwnerOf returns the Kustomization that the object's labels name, and false if they name none.
func OwnerOf(object metav1.Object) (Owner, bool) {
	labels := object.GetLabels()
	o := Owner{Name: labels[LabelName], Namespace: labels[LabelNamespace]}
	return o, o.Name != "" && o.Namespace != ""
}

// Own labels the objects, in place, as the Kustomization's.
func Own(objects []*unstructured.Unstructured, name, namespace string) {
	for _, u := range objects {
		labels := u.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[LabelName], labels[LabelNamespace] = name, namespace
		u.SetLabels(labels)
	}
}

// marked says whether the object bears key with the value, as a label or an annotation, in any letter case. Flux takes
// both places.
func marked(object metav1.Object, key, value string) bool {
	return strings.EqualFold(object.GetLabels()[key], value) || strings.EqualFold(object.GetAnnotations()[key], value)
}

// unmanaged returns the mark that keeps a controller's hands off the object altogether, or "".
func unmanaged(object metav1.Object) string {
	switch {
	case marked(object, KeyReconcile, "disabled"):
		return KeyReconcile + ": disabled"
	case marked(object, KeySSA, "Ignore"):
		return KeySSA + ": Ignore"
	}
	return ""
}
