package reconcile

import (
	"context"
	"fmt"
	"log/slog"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/plan"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/source"
)

// Offline renders what the controller would apply, with the controller's own code and without a cluster unless Reader
// is set.
type Offline struct {
	Tree   source.Tree
	Reader client.Reader // for substituteFrom and decryption.secretRef; nil: neither is looked up
	// Decrypt opens documents as whoever runs this: the AZURE_* environment, or the Secret that secretRef names. Without
	// it their structure is rendered and every sealed value masked.
	Decrypt bool
}

// Mask stands where a sealed value would be, as in `flux build`.
const Mask = "**SOPS**"

// Build renders obj, labelled as its owner would label it. The path of its spec is taken relative to the tree.
func (o Offline) Build(ctx context.Context, obj *Kustomization) ([]*unstructured.Unstructured, error) {
	if err := unsupportedInKustomization(obj); err != nil {
		return nil, err
	}
	flux, err := obj.Flux()
	if err != nil {
		return nil, err
	}
	k := &Kustomizations{Reader: o.Reader, Ring: keyring.New(keyring.Options{}), workload: ownWorkload(), Log: slog.New(slog.DiscardHandler)}
	req := render.Request{
		Tree: source.Artifact(o.Tree), Path: flux.Spec.Path, Kustomization: flux, Open: stripped, Encrypted: sops.IsEncrypted,
	}
	if o.Reader != nil {
		if req.Vars, _, err = k.variables(ctx, obj); err != nil {
			return nil, err
		}
	}
	if o.Decrypt {
		who, err := k.decrypter(ctx, obj, true)
		if err != nil {
			return nil, err
		}
		req.Open = who.opener()
	}
	rendered, err := render.Render(ctx, req)
	if err != nil {
		return nil, err
	}
	plan.Own(rendered.Objects, obj.Name, obj.Namespace)
	if !o.Decrypt {
		for _, u := range rendered.Objects {
			maskSealed(u)
		}
	}
	return rendered.Objects, nil
}

// ParseKustomization reads the one Kustomization of Flux's API in a manifest, v1 or v1beta2.
func ParseKustomization(manifest []byte) (*Kustomization, error) {
	var obj Kustomization
	err := yaml.Unmarshal(manifest, &obj)
	if err == nil && (obj.GroupVersionKind().GroupKind() != kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind).GroupKind()) {
		err = fmt.Errorf("it is a %s of %s", obj.Kind, obj.APIVersion)
	}
	if err != nil {
		return nil, &fault.Fault{
			Code: "SLU-USAGE-010", Hop: fault.HopUsage, Seen: "the Kustomization's manifest cannot be used", Why: err.Error(),
			Fix: "give the manifest of one Kustomization of kustomize.toolkit.fluxcd.io",
		}
	}
	return &obj, nil
}

// FromUnstructured is u, a Kustomization of Flux's API, typed.
func FromUnstructured(u *unstructured.Unstructured) (*Kustomization, error) {
	var obj Kustomization
	return &obj, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &obj)
}
