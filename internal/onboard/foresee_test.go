package onboard_test

import (
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// follows makes the cluster follow a path of a source, as Flux left it.
func (w *world) follows(name, path, kind, source string, owned ...string) {
	w.t.Helper()
	ks := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	ks.Spec = kustomizev1.KustomizationSpec{Interval: metav1.Duration{Duration: time.Hour}, Path: path, Prune: true,
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: kind, Name: source}}
	if err := w.client.Create(w.t.Context(), ks); err != nil {
		w.t.Fatal(err)
	}
	ks.Status.Inventory = &kustomizev1.ResourceInventory{Entries: []kustomizev1.ResourceRef{}}
	for _, id := range owned {
		ks.Status.Inventory.Entries = append(ks.Status.Inventory.Entries, kustomizev1.ResourceRef{ID: id, Version: "v1"})
	}
	if err := w.client.Status().Update(w.t.Context(), ks); err != nil {
		w.t.Fatal(err)
	}
}

// A sync that follows another folder from now on lets go of the old one's objects: with HelmRelease's definition every
// release would be uninstalled.
func TestATakeOverThatWouldPruneWhatStaysOfFluxIsRefused(t *testing.T) {
	w := newWorld(t)
	w.flux()
	w.follows(w.namespace, "./gitops/aks", "GitRepository", w.namespace, w.namespace+"_helm-controller_apps_Deployment", w.namespace+"_source-controller_apps_Deployment",
		w.namespace+"_kustomize-controller_apps_Deployment", "_helmreleases.helm.toolkit.fluxcd.io_apiextensions.k8s.io_CustomResourceDefinition")
	before := w.git.Git("rev-parse", "main")
	r := w.request()
	r.ReplaceFlux = true
	r.Manifests.Sync.Path = "./elsewhere"
	w.refused(r, "SLU-KUBERNETES-037", "CustomResourceDefinition/helmreleases.helm.toolkit.fluxcd.io", "Deployment/helm-controller", "--path ./gitops/aks", "nothing was pushed")
	if strings.Contains(w.told.String(), "controller removed") || w.git.Git("rev-parse", "main") != before {
		t.Errorf("something was changed all the same:\n%s", w.told.String())
	}
	w.controller()
	r = w.request()
	r.ReplaceFlux = true
	w.bootstrap(r)
	if _, err := w.deployment("helm-controller"); err != nil {
		t.Errorf("helm-controller was pruned: %v", err)
	}
	w.definitionsStand()
}

func TestAnArtifactThatSluiceCanNotReadKeepsFlux(t *testing.T) {
	w := newWorld(t)
	w.flux()
	b := w.bucket()
	if err := unstructured.SetNestedField(b.Object, int64(100<<20), "status", "artifact", "size"); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	r := w.request()
	r.ReplaceFlux = true
	w.follows("app", "./", "Bucket", "b")
	w.refused(r, "SLU-KUBERNETES-038", "Bucket/"+w.namespace+"/b", "100 MiB", ".sourceignore")
	if d, err := w.deployment("kustomize-controller"); err != nil || d.Spec.Template.Spec.Containers[0].Args[0] == "controller" {
		t.Errorf("Flux's kustomize-controller is gone: %v", err)
	}
}
