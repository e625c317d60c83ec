package onboard_test

import (
	"os/exec"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/crds"
)

// flux installs a repository and a cluster as `flux bootstrap` leaves them, with a patch of the user's.
func (w *world) flux() {
	w.t.Helper()
	var docs []string // the definitions of Flux's that are no more than a name are the test cluster's own here
	for _, doc := range strings.Split(strings.ReplaceAll(read(w.t, "../bootstrap/testdata/flux-components.yaml"), "flux-system", w.namespace), "---\n") {
		if !strings.Contains(doc, "name: gitrepositories.") {
			docs = append(docs, doc)
		}
	}
	_, definitions, _ := strings.Cut(string(crds.YAML()), "---\n")
	components := strings.Join(append(docs, definitions), "---\n")
	gotkSync, err := bootstrap.Sync(bootstrap.SyncOptions{Namespace: w.namespace, URL: w.git.URL, Path: "./gitops/aks", SecretRef: "flux-system"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.git.Commit(map[string]string{
		folder + "flux-system/gotk-components.yaml": components,
		folder + "flux-system/gotk-sync.yaml":       string(gotkSync),
		folder + "flux-system/kustomization.yaml":   "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- gotk-components.yaml\n- gotk-sync.yaml\npatches:\n- path: patch.yaml\n",
		folder + "flux-system/patch.yaml": "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: kustomize-controller\n  namespace: " + w.namespace +
			"\n  annotations:\n    azure.workload.identity/client-id: mine\n",
	})
	cmd := exec.Command(w.env.Kubectl, "--kubeconfig", w.env.Kubeconfig, "apply", "--server-side", "--field-manager=flux", "-f", "-")
	cmd.Stdin = strings.NewReader(strings.Join(docs, "---\n"))
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
}

func (w *world) deployment(name string) (*appsv1.Deployment, error) {
	var d appsv1.Deployment
	return &d, w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &d)
}

func TestAClusterThatRunsFluxIsTakenOverOnlyWhenToldTo(t *testing.T) {
	w := newWorld(t)
	w.flux()
	before := w.git.Git("rev-parse", "main")
	w.refused(w.request(), "SLU-KUBERNETES-030", "--replace-flux", "kustomize-controller (v2.8.2)")
	if now := w.git.Git("rev-parse", "main"); now != before {
		t.Fatal("it was pushed all the same")
	}
	w.controller()
	r := w.request()
	r.ReplaceFlux = true
	w.bootstrap(r)
	w.said("✔ source-controller removed", "✔ kustomize-controller removed")
	if _, err := w.deployment("source-controller"); !apierrors.IsNotFound(err) {
		t.Errorf("Flux's source-controller: %v", err)
	}
	d, err := w.deployment("kustomize-controller")
	if err != nil {
		t.Fatal(err)
	}
	if c := d.Spec.Template.Spec.Containers[0]; c.Args[0] != "controller" || strings.Contains(c.Image, "fluxcd") {
		t.Errorf("kustomize-controller is %s %v", c.Image, c.Args)
	}
	helm, err := w.deployment("helm-controller")
	if err != nil || helm.Labels["kustomize.toolkit.fluxcd.io/name"] != w.namespace {
		t.Errorf("helm-controller does not stay, or is not the sync's: %v, %v", helm.Labels, err)
	}
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	if err := w.client.Get(t.Context(), client.ObjectKey{Name: "helmreleases.helm.toolkit.fluxcd.io"}, crd); err != nil {
		t.Errorf("HelmRelease's definition: %v", err)
	}
	var sa corev1.ServiceAccount
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "kustomize-controller"}, &sa); err != nil {
		t.Fatal(err)
	}
	if sa.Annotations["azure.workload.identity/client-id"] != "mine" {
		t.Error("the user's patch is gone")
	}
	w.told.Reset()
	w.bootstrap(w.request())
	w.said("no commit")
}

// definition serves another of Flux's source kinds, and ends that with the test.
func (w *world) definition(kind, plural string) {
	w.t.Helper()
	text := "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: " + plural + ".source.toolkit.fluxcd.io\nspec:\n  group: source.toolkit.fluxcd.io\n" +
		"  names: {kind: " + kind + ", listKind: " + kind + "List, plural: " + plural + "}\n  scope: Namespaced\n  versions:\n  - name: v1\n    served: true\n    storage: true\n" +
		"    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}\n"
	run := func(stdin string, args ...string) {
		cmd := exec.Command(w.env.Kubectl, append([]string{"--kubeconfig", w.env.Kubeconfig}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			w.t.Errorf("kubectl %v: %v\n%s", args, err, out)
		}
	}
	run(text, "apply", "-f", "-")
	run("", "wait", "--for=condition=Established", "--timeout=30s", "crd/"+plural+".source.toolkit.fluxcd.io")
	w.t.Cleanup(func() { run("", "delete", "crd", plural+".source.toolkit.fluxcd.io") })
}
