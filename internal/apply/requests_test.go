package apply

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/inventory"
)

const two = `
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: NS}
data: {k: "1"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx, ports: [{containerPort: 80}], resources: {limits: {cpu: 1000m}}}]}`

// TestRequestsPerObject fixes what each outcome costs; the table in the package comment promises it.
func TestRequestsPerObject(t *testing.T) {
	b := setUp(t)
	cm := `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NS}, data: {k: "1"}}`
	step := func(name, text, wantActions, wantRequests string) {
		t.Helper()
		res := b.must(text)
		if got := actions(res); got != wantActions {
			t.Errorf("%s: %s, want %s", name, got, wantActions)
		}
		if got := b.count.String(); got != wantRequests {
			t.Errorf("%s: requests %s, want %s", name, got, wantRequests)
		}
	}
	step("create", cm, "ConfigMap/a created", "GET PATCH")
	step("unchanged, just written", cm, "ConfigMap/a unchanged", "DRYRUN GET")
	eventually(t, func() bool { b.must(cm); return b.count.String() == "DRYRUN" })
	step("unchanged", cm, "ConfigMap/a unchanged", "DRYRUN")
	step("configure", `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NS}, data: {k: "2"}}`, "ConfigMap/a configured", "DRYRUN GET PATCH")
	step("skip", `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NS, annotations: {kustomize.toolkit.fluxcd.io/reconcile: disabled}}}`, "ConfigMap/a skipped", "")
	step("prune", "", "ConfigMap/a deleted", "GET DELETE")
	step("nothing left", "", "", "")
	step("create several", strings.ReplaceAll(cm, "name: a", "name: b")+"\n---\n"+strings.ReplaceAll(cm, "name: a", "name: c"),
		"ConfigMap/b created, ConfigMap/c created", "DRYRUN DRYRUN PATCH PATCH")
}

// A namespace that the run has made itself holds nothing, so what goes into it is not asked about first.
func TestObjectsOfANewNamespaceCostOneRequest(t *testing.T) {
	b := setUp(t)
	fresh := `
{apiVersion: v1, kind: Namespace, metadata: {name: NS-fresh}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NS-fresh}, data: {k: "1"}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: NS-fresh}, automountServiceAccountToken: false}`
	res := b.must(fresh)
	if got := actions(res); got != "Namespace/"+b.ns+"-fresh created, ServiceAccount/default created, ConfigMap/a created" {
		t.Errorf("actions: %s", got)
	}
	// The namespace and the ServiceAccount that Kubernetes brings itself are asked about; the ConfigMap is not.
	if got := b.count.String(); got != "GET PATCH DRYRUN PATCH PATCH" {
		t.Errorf("requests: %s", got)
	}
	for _, c := range res.Changes {
		if c.Live == nil || c.Live.GetUID() == "" {
			t.Errorf("%s: live = %v", c.ID.Display(), c.Live)
		}
	}
	res, err := b.run(fresh + `
---
{apiVersion: v1, kind: Namespace, metadata: {name: NS-second}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: good, namespace: NS-second}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: bad, namespace: NS-second}, data: [1]}`)
	if err == nil || !strings.Contains(err.Error(), "ConfigMap/"+b.ns+"-second/bad") {
		t.Errorf("err = %v", err)
	}
	if !res.Inventory.Has(inventory.ID{Namespace: b.ns + "-second", Name: "bad", Kind: "ConfigMap"}) {
		t.Errorf("after a failure the inventory lacks what may exist: %v", res.Inventory)
	}
}

// TestOneRequestProvesAnUnchangedObject holds the proof of settled against everything that can happen to an object.
func TestOneRequestProvesAnUnchangedObject(t *testing.T) {
	b := setUp(t)
	b.must(two)
	eventually(t, func() bool { b.must(two); return b.count.String() == "DRYRUN DRYRUN" })
	deployments, configMaps := b.kube.AppsV1().Deployments(b.ns), b.kube.CoreV1().ConfigMaps(b.ns)
	for name, tt := range map[string]struct {
		kind, patch string
		want        string
	}{
		"a field that we own":       {"Deployment", `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"httpd"}]}}}}`, "ConfigMap/a unchanged, Deployment/web configured"},
		"a label that we own":       {"ConfigMap", `{"metadata":{"labels":{"kustomize.toolkit.fluxcd.io/name":"x"}}}`, "ConfigMap/a configured, Deployment/web unchanged"},
		"a field that we own, gone": {"ConfigMap", `{"data":{"k":null}}`, "ConfigMap/a configured, Deployment/web unchanged"},
		"a field that is others'":   {"Deployment", `{"spec":{"replicas":3}}`, "ConfigMap/a unchanged, Deployment/web unchanged"},
		"a key that is others'":     {"ConfigMap", `{"data":{"other":"1"}}`, "ConfigMap/a unchanged, Deployment/web unchanged"},
		"a value set to the same":   {"ConfigMap", `{"data":{"k":"1"}}`, "ConfigMap/a unchanged, Deployment/web unchanged"},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			opts := metav1.PatchOptions{FieldManager: "someone"}
			if tt.kind == "Deployment" {
				_, err = deployments.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(tt.patch), opts)
			} else {
				_, err = configMaps.Patch(t.Context(), "a", types.MergePatchType, []byte(tt.patch), opts)
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := actions(b.must(two)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			eventually(t, func() bool { b.must(two); return b.count.String() == "DRYRUN DRYRUN" })
		})
	}
	cm, err := configMaps.Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || cm.Data["k"] != "1" || cm.Data["other"] != "1" || cm.Labels["kustomize.toolkit.fluxcd.io/name"] != "apps" {
		t.Errorf("in the end: %v, %v", cm, err)
	}
}
