package crds_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/crds"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var (
	kustomizations = schema.GroupResource{Group: "kustomize.toolkit.fluxcd.io", Resource: "kustomizations"}
	repositories   = schema.GroupResource{Group: "source.toolkit.fluxcd.io", Resource: "gitrepositories"}
)

// api talks to a real API server that serves the definitions.
type api struct {
	t         *testing.T
	client    dynamic.Interface
	namespace string
}

// create sends a manifest with strict field validation: an unknown field is an error, not pruned in silence.
func (a api) create(r schema.GroupResource, manifest string) (*unstructured.Unstructured, error) {
	a.t.Helper()
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &obj.Object); err != nil {
		a.t.Fatal(err)
	}
	obj.SetNamespace(a.namespace)
	version := obj.GroupVersionKind().Version
	return a.client.Resource(r.WithVersion(version)).Namespace(a.namespace).
		Create(a.t.Context(), obj, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
}

// spec reads an object in a version and gives its spec.
func (a api) spec(r schema.GroupResource, version, name string) map[string]any {
	a.t.Helper()
	obj, err := a.client.Resource(r.WithVersion(version)).Namespace(a.namespace).Get(a.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
	spec, _, err := unstructured.NestedMap(obj.Object, "spec")
	if err != nil {
		a.t.Fatal(err)
	}
	return spec
}

func TestAPIServerServesBothVersions(t *testing.T) {
	env := testkit.Cluster(t)
	testkit.InstallCRDs(t, env, crds.YAML())
	client, err := dynamic.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		test func(api)
	}{
		{"the sample's v1beta2 apps.yaml is accepted", sampleIsAccepted},
		{"deprecated fields survive into v1 and back", deprecatedFieldsSurvive},
		{"an object written as v1 gains no deprecated field", v1GainsNothing},
		{"v1 fields survive a write through v1beta2", v1FieldsSurvive},
		{"the rules of the API hold in both versions", rulesHold},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(api{t, client, testkit.Namespace(t, env)}) })
	}
}

func TestKubectlExplainsTheFields(t *testing.T) {
	env := testkit.Cluster(t)
	testkit.InstallCRDs(t, env, crds.YAML())
	for _, field := range []string{"gitrepo.spec.ref.semver", "ks.spec.decryption.provider", "ks.spec.patchesJson6902"} {
		out, err := exec.Command(env.Kubectl, "--kubeconfig", env.Kubeconfig, "explain", field).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "FIELD: "+field[strings.LastIndex(field, ".")+1:]) {
			t.Errorf("kubectl explain %s: %v\n%s", field, err, out)
		}
	}
}

func sampleIsAccepted(a api) {
	data, err := os.ReadFile("../../examples/aks/gitops/aks/apps.yaml")
	if err != nil {
		a.t.Fatal(err)
	}
	obj, err := a.create(kustomizations, string(data))
	if err != nil {
		a.t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(obj.Object, "status", "observedGeneration"); n != -1 {
		a.t.Errorf("status.observedGeneration = %d before anybody looked, want -1", n)
	}
}

func deprecatedFieldsSurvive(a api) {
	_, err := a.create(kustomizations, `
apiVersion: kustomize.toolkit.fluxcd.io/v1beta2
kind: Kustomization
metadata: {name: old}
spec:
  interval: 5m
  prune: false
  sourceRef: {kind: GitRepository, name: x}
  validation: server
  patchesStrategicMerge:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}
  patchesJson6902:
  - target: {kind: ConfigMap}
    patch:
    - {op: add, path: /data/x, value: y}
`)
	if err != nil {
		a.t.Fatal(err)
	}
	_, err = a.create(repositories, `
apiVersion: source.toolkit.fluxcd.io/v1beta2
kind: GitRepository
metadata: {name: old}
spec:
  interval: 5m
  url: https://git.test/x.git
  gitImplementation: libgit2
  accessFrom: {namespaceSelectors: [{matchLabels: {a: b}}]}
  verify: {mode: head, secretRef: {name: keys}}
`)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, version := range []string{"v1", "v1beta2"} {
		ks, repo := a.spec(kustomizations, version, "old"), a.spec(repositories, version, "old")
		merge, _, _ := unstructured.NestedSlice(map[string]any{"spec": ks}, "spec", "patchesStrategicMerge")
		if len(merge) != 1 || merge[0].(map[string]any)["data"].(map[string]any)["k"] != "v" {
			a.t.Errorf("%s: patchesStrategicMerge = %v", version, ks["patchesStrategicMerge"])
		}
		if ops, _ := ks["patchesJson6902"].([]any); len(ops) != 1 || ks["validation"] != "server" {
			a.t.Errorf("%s: patchesJson6902 = %v, validation = %v", version, ks["patchesJson6902"], ks["validation"])
		}
		if repo["gitImplementation"] != "libgit2" || repo["accessFrom"] == nil {
			a.t.Errorf("%s: gitImplementation = %v, accessFrom = %v", version, repo["gitImplementation"], repo["accessFrom"])
		}
	}
}

func v1GainsNothing(a api) {
	obj, err := a.create(repositories, `
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: new}
spec: {interval: 1m, url: "ssh://git@git.test/x"}
`)
	if err != nil {
		a.t.Fatal(err)
	}
	spec, _, _ := unstructured.NestedMap(obj.Object, "spec")
	if len(spec) != 3 || spec["timeout"] != "60s" {
		a.t.Errorf("spec = %v, want interval, url and the default timeout alone", spec)
	}
}

func v1FieldsSurvive(a api) {
	_, err := a.create(kustomizations, `
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: both}
spec:
  interval: 5m
  prune: true
  sourceRef: {kind: ExternalArtifact, name: x}
  deletionPolicy: Orphan
  healthCheckExprs: [{apiVersion: a/v1, kind: B, current: "true"}]
`)
	if err != nil {
		a.t.Fatal(err)
	}
	_, err = a.client.Resource(kustomizations.WithVersion("v1beta2")).Namespace(a.namespace).
		Patch(a.t.Context(), "both", "application/merge-patch+json", []byte(`{"spec":{"suspend":true}}`), metav1.PatchOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
	spec := a.spec(kustomizations, "v1", "both")
	if spec["suspend"] != true || spec["deletionPolicy"] != "Orphan" || spec["healthCheckExprs"] == nil {
		a.t.Errorf("spec after a write through v1beta2: %v", spec)
	}
}

func rulesHold(a api) {
	for _, version := range []string{"v1", "v1beta2"} {
		for field, spec := range map[string]string{
			"spec.interval":   "{interval: soon, prune: true, sourceRef: {kind: GitRepository, name: x}}",
			"spec.prune":      "{interval: 1m, sourceRef: {kind: GitRepository, name: x}}",
			"spec.kubeConfig": "{interval: 1m, prune: true, kubeConfig: {}, sourceRef: {kind: GitRepository, name: x}}",
			"spec.unknown":    "{interval: 1m, prune: true, unknown: 1, sourceRef: {kind: GitRepository, name: x}}",
		} {
			_, err := a.create(kustomizations, "{apiVersion: kustomize.toolkit.fluxcd.io/"+version+", kind: Kustomization, metadata: {name: bad}, spec: "+spec+"}")
			if err == nil || !strings.Contains(err.Error(), field) || !(apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)) {
				a.t.Errorf("%s %s: err = %v, want a refusal that names the field", version, field, err)
			}
		}
	}
}
