package apply

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

const cmA = `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NS}, data: {k: "1"}}`

func TestNothingIsCreatedWhenTheInventoryCannotBeStored(t *testing.T) {
	b := setUp(t)
	objects := b.objects(cmA)
	plan.Own(objects, b.owner.Name, b.owner.Namespace)
	p, err := plan.New(objects, inventory.Set{}, plan.Options{Owner: b.owner})
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.apply.Apply(t.Context(), p, func(context.Context, inventory.Set) error { return errors.New("etcd is full") }, nil)
	if err == nil || !strings.Contains(err.Error(), "etcd is full") {
		t.Errorf("err = %v", err)
	}
	if got := b.count.String(); got != "GET" {
		t.Errorf("requests: %s", got)
	}
	if _, err := b.kube.CoreV1().ConfigMaps(b.ns).Get(t.Context(), "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the object exists: %v", err)
	}
	if res.Inventory.Len() != 0 || len(res.Changes) != 0 {
		t.Errorf("result: %+v", res)
	}
}

func TestTheUnionIsStoredOnceBeforeTheFirstWriteAndOnlyIfItIsNews(t *testing.T) {
	b := setUp(t)
	b.must(cmA)
	if len(b.saves) != 1 || b.saves[0].Len() != 1 {
		t.Fatalf("saves: %v", b.saves)
	}
	b.must(strings.ReplaceAll(cmA, `"1"`, `"2"`)) // written, but owned already
	if len(b.saves) != 1 {
		t.Errorf("saves: %v", b.saves)
	}
	b.must(strings.ReplaceAll(cmA, "name: a", "name: b")) // a is stale
	if len(b.saves) != 2 || b.saves[1].Len() != 2 || b.old.Len() != 1 {
		t.Errorf("saves: %v, then %v", b.saves, b.old)
	}
	b.must("")
	if len(b.saves) != 2 || b.old.Len() != 0 {
		t.Errorf("pruning alone needs no save: %v, then %v", b.saves, b.old)
	}
}

func TestAStageIsWrittenWholeOrNotAtAllAndEveryFaultIsTold(t *testing.T) {
	b := setUp(t)
	res, err := b.run(cmA + `
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: NS}, data: {k: [1]}}
---
{apiVersion: v1, kind: Service, metadata: {name: "-c", namespace: NS}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: NS-early}}`)
	if err == nil || !strings.Contains(err.Error(), "ConfigMap/"+b.ns+"/b") || !strings.Contains(err.Error(), "Service/"+b.ns+"/-c") {
		t.Errorf("err = %v", err)
	}
	if got := actions(res); got != "Namespace/"+b.ns+"-early created" {
		t.Errorf("done: %s", got)
	}
	if res.Inventory.Len() != 4 {
		t.Errorf("after a write the inventory is the union: %v", res.Inventory)
	}
	if _, err := b.kube.CoreV1().ConfigMaps(b.ns).Get(t.Context(), "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a good object of the bad stage was written: %v", err)
	}
	if told := strings.Join(b.told, ", "); !strings.Contains(told, "/b failed") || !strings.Contains(told, "/-c failed") {
		t.Errorf("told: %s", told)
	}
}

func TestANamespaceAndADefinitionAreAppliedTogetherWithWhatNeedsThem(t *testing.T) {
	b := setUp(t)
	kind := "T" + strings.ReplaceAll(b.ns, "-", "")
	crd := func(name, scope string) string {
		return `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ` + strings.ToLower(name) + `s.example.com}
spec:
  group: example.com
  scope: ` + scope + `
  names: {kind: ` + name + `, plural: ` + strings.ToLower(name) + `s}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---`
	}
	all := `
{apiVersion: example.com/v1, kind: ` + kind + `, metadata: {name: one, namespace: NS-new}, spec: {size: 1}}
---
{apiVersion: example.com/v1, kind: ` + kind + `Realm, metadata: {name: r, namespace: NS-new}, spec: {size: 1}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: NS-new}, stringData: {k: v}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: NS-new}}
---` + crd(kind, "Namespaced") + crd(kind+"Realm", "Cluster")
	all = strings.TrimSuffix(strings.TrimSpace(all), "---")
	res := b.must(all)
	if n := len(res.Changed()); n != 6 {
		t.Errorf("%d created: %s", n, actions(res))
	}
	if !b.old.Has(inventory.ID{Name: "r", Group: "example.com", Kind: kind + "Realm"}) {
		t.Errorf("a cluster-scoped object is tracked without the namespace that its manifest claims: %v", b.old)
	}
	if !strings.HasPrefix(res.Changes[0].ID.Kind, "CustomResource") || res.Changes[len(res.Changes)-1].ID.Kind == "Namespace" {
		t.Errorf("order: %s", actions(res))
	}
	for _, c := range res.Changes {
		if c.Live == nil || c.Live.GetUID() == "" || c.Live.Object["data"] != nil || len(c.Live.GetManagedFields()) > 0 {
			t.Errorf("%s: live = %v", c.ID.Display(), c.Live)
		}
	}
	if again := b.must(all); len(again.Changed()) != 0 {
		t.Errorf("a second run writes: %s", actions(again))
	}
	res = b.must("") // the definitions go last, and with them the instances
	if got := actions(res); !strings.HasPrefix(got, "Secret/s deleted") && len(res.Changed()) != 6 || b.old.Len() != 0 {
		t.Errorf("pruned: %s, left: %v", got, b.old)
	}
}

func TestFieldsOfKubectlAreTakenOver(t *testing.T) {
	b := setUp(t)
	for _, tt := range []struct{ name, manager, body string }{
		{"client-side", "kubectl-client-side-apply", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","mine":"x"}},"data":{"k":"1","gone":"1"}}`},
		{"edited", "kubectl-edit", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"2","gone":"1"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := b.kube.CoreV1().RESTClient().Post().Namespace(b.ns).Resource("configmaps").Param("fieldManager", tt.manager).Body([]byte(tt.body)).DoRaw(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			res := b.must(cmA)
			if got := actions(res); got != "ConfigMap/a configured" || !strings.Contains(res.Changes[0].Reason, tt.manager) {
				t.Errorf("%s: %s", got, res.Changes[0].Reason)
			}
			if got := b.count.String(); got != "GET DRYRUN JSONPATCH PATCH" {
				t.Errorf("requests: %s", got)
			}
			cm, err := b.kube.CoreV1().ConfigMaps(b.ns).Get(t.Context(), "a", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(cm.Data) != 1 || cm.Data["k"] != "1" || len(cm.Annotations) != 0 {
				t.Errorf("live: %v %v", cm.Data, cm.Annotations)
			}
			for _, e := range cm.ManagedFields {
				if e.Manager != "kustomize-controller" || e.Operation != "Apply" {
					t.Errorf("manager left: %s %s", e.Manager, e.Operation)
				}
			}
			if again := b.must(cmA); len(again.Changed()) != 0 {
				t.Errorf("a second run writes: %s (%s)", actions(again), again.Changes[0].Reason)
			}
			b.must("")
		})
	}
}

func TestTheLabelOfFluxV1Goes(t *testing.T) {
	b := setUp(t)
	body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"fluxcd.io/sync-gc-mark":"x","theirs":"x"}},"data":{"k":"1"}}`
	_, err := b.kube.CoreV1().RESTClient().Post().Namespace(b.ns).Resource("configmaps").Param("fieldManager", "flux").Body([]byte(body)).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.must(cmA)
	cm, err := b.kube.CoreV1().ConfigMaps(b.ns).Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || cm.Labels["fluxcd.io/sync-gc-mark"] != "" || cm.Labels["theirs"] != "x" {
		t.Errorf("labels %v, %v", cm.Labels, err)
	}
	if again := b.must(cmA); len(again.Changed()) != 0 {
		t.Errorf("a second run writes: %s (%s)", actions(again), again.Changes[0].Reason)
	}
	b.must("")
}

func TestMergeLeavesOthersFields(t *testing.T) {
	b := setUp(t)
	body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"2","theirs":"1"}}`
	_, err := b.kube.CoreV1().RESTClient().Post().Namespace(b.ns).Resource("configmaps").Param("fieldManager", "kubectl-create").Body([]byte(body)).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.must(`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NS, annotations: {kustomize.toolkit.fluxcd.io/ssa: merge}}, data: {k: "1"}}`)
	cm, err := b.kube.CoreV1().ConfigMaps(b.ns).Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || cm.Data["theirs"] != "1" || cm.Data["k"] != "1" {
		t.Errorf("%v, %v", cm.Data, err)
	}
}

func TestIfNotPresentCreatesOnce(t *testing.T) {
	b := setUp(t)
	text := `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NS, annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}}, data: {k: "1"}}`
	if got := actions(b.must(text)); got != "ConfigMap/a created" || b.count.String() != "GET DRYRUN PATCH" {
		t.Errorf("%s by %s", got, b.count)
	}
	if got := actions(b.must(strings.ReplaceAll(text, `"1"`, `"2"`))); got != "ConfigMap/a skipped" || b.count.String() != "GET" {
		t.Errorf("%s by %s", got, b.count)
	}
}

func TestAnObjectMarkedOnTheClusterIsLeftAlone(t *testing.T) {
	b := setUp(t)
	b.must(cmA)
	mark := `{"metadata":{"annotations":{"kustomize.toolkit.fluxcd.io/reconcile":"disabled"}},"data":{"k":"theirs"}}`
	if _, err := b.kube.CoreV1().ConfigMaps(b.ns).Patch(t.Context(), "a", types.MergePatchType, []byte(mark), metav1.PatchOptions{FieldManager: "kubectl-annotate"}); err != nil {
		t.Fatal(err)
	}
	if got := actions(b.must(cmA)); got != "ConfigMap/a skipped" {
		t.Error(got)
	}
	if got := actions(b.must("")); got != "ConfigMap/a kept" {
		t.Error(got)
	}
}

func TestAnImmutableFieldNeedsForce(t *testing.T) {
	b := setUp(t)
	secret := `{apiVersion: v1, kind: Secret, type: Opaque, immutable: true, metadata: {name: s, namespace: NS}, data: {k: MQ==}}`
	b.must(secret)
	before, err := b.kube.CoreV1().Secrets(b.ns).Get(t.Context(), "s", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(secret, "MQ==", "Mg==")
	_, err = b.run(changed)
	wantFault(t, err, "SLU-APPLY-007", "Secret/"+b.ns+"/s", "immutable", "kustomize.toolkit.fluxcd.io/force: enabled")

	res := b.must(changed, force)
	if got := actions(res); got != "Secret/s replaced" || !strings.HasPrefix(b.count.String(), "DRYRUN GET DELETE GET") {
		t.Errorf("%s by %s", got, b.count)
	}
	after, err := b.kube.CoreV1().Secrets(b.ns).Get(t.Context(), "s", metav1.GetOptions{})
	if err != nil || string(after.Data["k"]) != "2" || after.UID == before.UID {
		t.Errorf("%v, %v", after, err)
	}
	if _, err := b.run(strings.ReplaceAll(changed, "data: {k: Mg==}", "data: {'no/key': Mg==}"), force); err == nil {
		t.Error("an invalid object is accepted")
	}
	if still, err := b.kube.CoreV1().Secrets(b.ns).Get(t.Context(), "s", metav1.GetOptions{}); err != nil || still.UID != after.UID {
		t.Errorf("an object was deleted for a manifest that can't replace it: %v", err)
	}
}

func TestPruneDeletesOnlyWhatIsOurs(t *testing.T) {
	b := setUp(t)
	var docs []string
	for _, name := range []string{"ours", "theirs", "kept", "replaced", "unlabelled"} {
		docs = append(docs, strings.ReplaceAll(cmA, "name: a", "name: "+name))
	}
	b.must(strings.Join(docs, "\n---\n"))
	patch := func(name, body string) {
		t.Helper()
		if _, err := b.kube.CoreV1().ConfigMaps(b.ns).Patch(t.Context(), name, types.MergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch("theirs", `{"metadata":{"labels":{"kustomize.toolkit.fluxcd.io/name":"other"}}}`)
	patch("kept", `{"metadata":{"annotations":{"kustomize.toolkit.fluxcd.io/prune":"Disabled"}}}`)
	patch("unlabelled", `{"metadata":{"labels":null}}`)
	if err := b.kube.CoreV1().ConfigMaps(b.ns).Delete(t.Context(), "replaced", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.kube.CoreV1().ConfigMaps(b.ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "replaced"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	res := b.must("")
	if got, want := actions(res), "ConfigMap/unlabelled kept, ConfigMap/theirs kept, ConfigMap/replaced kept, ConfigMap/ours deleted, ConfigMap/kept kept"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	left, err := b.kube.CoreV1().ConfigMaps(b.ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 4 {
		t.Errorf("left: %v, %v", left, err)
	}
	if b.old.Len() != 0 {
		t.Errorf("inventory: %v", b.old)
	}
}

func TestWithoutPruneStaleObjectsLeaveTheInventoryAndStay(t *testing.T) {
	b := setUp(t)
	b.must(cmA)
	if got := actions(b.must("", noPrune)); got != "" || b.old.Len() != 0 {
		t.Errorf("%s, %v", got, b.old)
	}
	if _, err := b.kube.CoreV1().ConfigMaps(b.ns).Get(t.Context(), "a", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestADeletedKustomizationPrunesEverythingAndWaits(t *testing.T) {
	b := setUp(t)
	b.must(two + `
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: "a:b__c", namespace: NS}, rules: []}`)
	if _, err := b.kube.CoreV1().ConfigMaps(b.ns).Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/hold"]}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	stored, err := inventory.FromStatus(b.old.Status())
	if err != nil {
		t.Fatal(err)
	}
	gone := inventory.Entry{ID: inventory.ID{Namespace: b.ns, Name: "x", Group: "gone.example.com", Kind: "Vanished"}, Version: "v1"}
	old := inventory.Entry{ID: inventory.ID{Namespace: b.ns, Name: "never", Group: "apps", Kind: "Deployment"}, Version: "v1beta1"}
	done := make(chan error, 1)
	var res Result
	go func() {
		var err error
		res, err = b.apply.Prune(t.Context(), stored.Union(inventory.New(gone, old)), b.owner, PruneOptions{Wait: time.Minute}, nil)
		done <- err
	}()
	eventually(t, func() bool {
		cm, err := b.kube.CoreV1().ConfigMaps(b.ns).Get(t.Context(), "a", metav1.GetOptions{})
		return err == nil && cm.DeletionTimestamp != nil
	})
	select {
	case err := <-done:
		t.Fatalf("it did not wait for the finalizer: %v", err)
	default:
	}
	short, err := b.apply.Prune(t.Context(), stored, b.owner, PruneOptions{Wait: 50 * time.Millisecond}, nil) // by another process, say
	if err != nil || len(short.Terminating) != 1 || short.Terminating[0].Name != "a" || short.Inventory.Len() != 0 {
		t.Errorf("after a short wait: %+v, %v", short.Terminating, err)
	}
	if _, err := b.kube.CoreV1().ConfigMaps(b.ns).Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if res.Inventory.Len() != 0 || len(res.Changed()) != 3 {
		t.Errorf("%s, left %v", actions(res), res.Inventory)
	}
}

// TestAWriterBetweenLookAndWriteIsNotOverrun lets someone write the object just before each locked request.
func TestAWriterBetweenLookAndWriteIsNotOverrun(t *testing.T) {
	b := setUp(t)
	var intrude func()
	cfg := testkit.Cluster(t).Config
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if f := intrude; f != nil && (r.Method == http.MethodDelete || r.Header.Get("Content-Type") == "application/json-patch+json") {
				intrude = nil
				f()
			}
			return next.RoundTrip(r)
		})
	})
	b.apply = b.as(cfg)
	configMaps := b.kube.CoreV1().ConfigMaps(b.ns)
	patch := func(body string) func() {
		return func() {
			if _, err := configMaps.Patch(context.WithoutCancel(t.Context()), "a", types.MergePatchType, []byte(body), metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
				t.Error(err)
			}
		}
	}
	b.must(cmA)

	patch(`{"data":{"first":"1"}}`)()
	intrude = patch(`{"data":{"second":"1"}}`)
	b.must(cmA)
	if got := b.count.String(); got != "DRYRUN JSONPATCH DRYRUN JSONPATCH PATCH" {
		t.Errorf("takeover: %s", got)
	}
	if cm, err := configMaps.Get(t.Context(), "a", metav1.GetOptions{}); err != nil || len(cm.Data) != 1 {
		t.Errorf("takeover: %v, %v", cm, err)
	}

	intrude = patch(`{"metadata":{"labels":{"kustomize.toolkit.fluxcd.io/name":"other"}}}`)
	if got := actions(b.must("")); got != "ConfigMap/a kept" || b.count.String() != "GET DELETE GET" {
		t.Errorf("prune: %s by %s", got, b.count)
	}
}
