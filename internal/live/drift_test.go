package live

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {securityContext: {}, containers: [{name: c, image: nginx, ports: [{containerPort: 80}], resources: {limits: {cpu: 1000m}}}]}`

func TestASecondApplyCostsNoRequestAndAnEditedObjectOnlyItsOwn(t *testing.T) {
	w := begin(t, Options{}, configMaps, secrets, deployments)
	secret := `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: NS}, stringData: {k: v}}`
	all := docs(configMap("a", "1"), configMap("b", "1"), secret, web)
	w.apply(w.applier, owner, all)
	want := "a unchanged, b unchanged, s unchanged, web unchanged"
	if got, n := w.apply(w.applier, owner, all); got != want || n != 0 {
		t.Errorf("%s by %d requests", got, n)
	}
	w.patch("ConfigMap", "b", "kubectl-edit", `{"data":{"k":"theirs"}}`)
	w.quick("edit", w.drift, "b by kubectl-edit")
	if got, n := w.apply(w.applier, owner, all); got != strings.Replace(want, "b unchanged", "b configured", 1) || n != 3 {
		t.Errorf("%s by %d requests, want dry-run, takeover, apply", got, n)
	}
	if got, n := w.apply(w.applier, owner, all); got != want || n != 0 {
		t.Errorf("put right: %s by %d requests", got, n)
	}
	if got, n := w.apply(w.applier, owner, docs(configMap("a", "1"), configMap("b", "2"), secret, web)); strings.Count(got, "unchanged") != 3 || n != 3 {
		t.Errorf("a new manifest: %s by %d requests, want dry-run, read, apply", got, n)
	}
}

func TestDriftIsWhatAnApplyWouldPutRight(t *testing.T) {
	w := begin(t, Options{}, configMaps, deployments)
	all := docs(configMap("a", "1"), configMap("mark", "0"), web)
	for _, tt := range []struct{ name, kind, object, patch, want string }{
		{"an owned field", "Deployment", "web", `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"httpd"}]}}}}`, "web by someone"},
		{"an owned field, gone", "ConfigMap", "a", `{"data":{"k":null}}`, "a by "},
		{"a defaulted field", "Deployment", "web", `{"spec":{"replicas":3}}`, ""},
		{"below an empty map of ours", "Deployment", "web", `{"spec":{"template":{"spec":{"securityContext":{"runAsUser":7}}}}}`, ""},
		{"another key", "ConfigMap", "a", `{"data":{"other":"1"}}`, ""},
		{"another label", "ConfigMap", "a", `{"metadata":{"labels":{"other":"1"},"finalizers":["example.com/x"]}}`, ""},
		{"our value again", "ConfigMap", "a", `{"data":{"k":"1"}}`, ""},
		{"the owner's name", "ConfigMap", "a", `{"metadata":{"labels":{"` + plan.LabelName + `":"other"}}}`, "a by someone"},
		{"the owner's labels, gone", "ConfigMap", "a", `{"metadata":{"labels":null}}`, "a gone"},
		{"a mark that stops us", "ConfigMap", "a", `{"metadata":{"annotations":{"` + plan.KeyReconcile + `":"disabled"}}}`, "a by someone"},
		{"the mark, gone", "ConfigMap", "a", `{"metadata":{"annotations":{"` + plan.KeyReconcile + `":null}}}`, "a by someone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{T: t, ns: w.ns, cache: w.cache, applier: w.applier, fresh: w.fresh, objects: w.objects, olds: w.olds}
			w.apply(w.applier, owner, all)
			if tt.kind == "Deployment" {
				_, err := w.objects.Resource(resources[tt.kind]).Namespace(w.ns).Patch(t.Context(), tt.object, types.StrategicMergePatchType, []byte(tt.patch), metav1.PatchOptions{FieldManager: "someone"})
				must(t, err)
				if tt.want == "" { // what comes next on the same watch is what is told next
					w.patch("Deployment", "web", "someone", `{"spec":{"paused":true}}`)
				}
			} else {
				w.patch(tt.kind, tt.object, "someone", tt.patch)
			}
			if tt.want != "" {
				w.quick("drift", w.drift, tt.want)
				return
			}
			w.patch("ConfigMap", "mark", "someone", `{"data":{"k":"x"}}`)
			w.quick("the next drift", w.drift, "mark by someone")
			if got, _ := w.apply(w.fresh, owner, all); strings.Contains(got, tt.object+" configured") {
				t.Errorf("an apply would put it right: %s", got)
			}
		})
	}
}

func TestADeletedObjectIsToldAndMadeAgain(t *testing.T) {
	w := begin(t, Options{}, configMaps)
	w.apply(w.applier, owner, configMap("a", "1"))
	w.delete("ConfigMap", "a")
	w.quick("deletion", w.drift, "a gone")
	if got, n := w.apply(w.applier, owner, configMap("a", "1")); got != "a created" || n != 2 {
		t.Errorf("%s by %d requests", got, n)
	}
	if got, n := w.apply(w.applier, owner, configMap("a", "1")); got != "a unchanged" || n != 0 {
		t.Errorf("%s by %d requests", got, n)
	}
}

func TestOurOwnWritesAndPrunesAreNoDrift(t *testing.T) {
	w := begin(t, Options{}, configMaps)
	for _, v := range []string{"1", "2", "3", "4", "5"} {
		w.apply(w.applier, owner, docs(configMap("a", v), configMap("b", v), configMap("c"+v, v))) // c is pruned each time
	}
	w.apply(w.applier, owner, docs(configMap("mark", "0"), configMap("a", "5")))
	w.patch("ConfigMap", "mark", "someone", `{"data":{"k":"x"}}`)
	if got := w.drift(); got != "mark by someone" {
		t.Error(got)
	}
}

func TestAnObjectThatChangesHandsIsTheLastOwners(t *testing.T) {
	w := begin(t, Options{}, configMaps)
	other := plan.Owner{Name: "other", Namespace: "flux-system"}
	w.apply(w.applier, owner, docs(configMap("a", "1"), configMap("b", "1")))
	w.apply(w.applier, other, configMap("a", "1"))
	if got, _ := w.apply(w.applier, owner, configMap("b", "1")); got != "b unchanged, a kept" {
		t.Error(got)
	}
	if got, n := w.apply(w.applier, other, configMap("a", "1")); got != "a unchanged" || n != 0 {
		t.Errorf("the old owner's farewell unsettles the object: %s by %d requests", got, n)
	}
	w.patch("ConfigMap", "a", "someone", `{"data":{"k":"x"}}`)
	if d := <-w.cache.Drifts(); d.Owner != other || d.ID.Name != "a" || d.Manager != "someone" {
		t.Errorf("%+v", d)
	}
	w.cache.Forget(other)
	w.patch("ConfigMap", "a", "someone", `{"data":{"k":"y"}}`)
	w.patch("ConfigMap", "b", "someone", `{"data":{"k":"y"}}`)
	if d := <-w.cache.Drifts(); d.Owner != owner || d.ID.Name != "b" {
		t.Errorf("after Forget: %+v", d)
	}
}

func TestAnObjectMarkedOnTheClusterIsWatchedButNeverSettled(t *testing.T) {
	w := begin(t, Options{}, configMaps)
	w.apply(w.applier, owner, configMap("a", "1"))
	w.patch("ConfigMap", "a", "someone", `{"metadata":{"annotations":{"`+plan.KeySSA+`":"ignore"}},"data":{"k":"x"}}`)
	w.drift()
	if got, _ := w.apply(w.applier, owner, configMap("a", "1")); got != "a skipped" {
		t.Error(got)
	}
	w.patch("ConfigMap", "a", "someone", `{"metadata":{"annotations":null}}`)
	w.drift()
	if got, _ := w.apply(w.applier, owner, configMap("a", "1")); got != "a configured" {
		t.Error(got)
	}
}

// TestAFieldThatSomeoneChangedAndChangedBackIsStillGuarded is about a field that stands as desired and is owned by someone
// else alone: an apply has nothing to write, so it never becomes ours again.
func TestAFieldThatSomeoneChangedAndChangedBackIsStillGuarded(t *testing.T) {
	w := begin(t, Options{}, configMaps)
	w.apply(w.applier, owner, configMap("a", "1"))
	w.patch("ConfigMap", "a", "someone", `{"data":{"k":"2"}}`)
	w.patch("ConfigMap", "a", "someone", `{"data":{"k":"1"}}`)
	w.drift()
	w.apply(w.applier, owner, configMap("a", "1"))
	if got, n := w.apply(w.applier, owner, configMap("a", "1")); got != "a unchanged" || n != 0 {
		t.Errorf("%s by %d requests", got, n)
	}
	w.patch("ConfigMap", "a", "someone", `{"data":{"k":"2"}}`)
	w.quick("edit", w.drift, "a by someone")
	if got, _ := w.apply(w.applier, owner, configMap("a", "1")); got != "a configured" {
		t.Error(got)
	}
}

func TestDefinitionsNamespacesAndWhatLivesInThemSettle(t *testing.T) {
	w := begin(t, Options{}, configMaps)
	kind := "D" + strings.ReplaceAll(w.ns, "-", "")
	plural := strings.ToLower(kind) + "s"
	all := docs(`{apiVersion: v1, kind: Namespace, metadata: {name: NS-new}}`, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: `+plural+`.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {kind: `+kind+`, plural: `+plural+`}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]`,
		`{apiVersion: example.com/v1, kind: `+kind+`, metadata: {name: one}, spec: {size: 1}}`,
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NS-new}, data: {k: "1"}}`)
	w.apply(w.applier, owner, all)
	for _, u := range w.parse(all) {
		w.synced(u.GroupVersionKind())
	}
	w.apply(w.applier, owner, all) // what was not watched when it was applied counts from here on
	testkit.Eventually(t, patience, func() error {
		if got, n := w.apply(w.applier, owner, all); n != 0 || strings.Count(got, "unchanged") != 4 {
			return fmt.Errorf("%s by %d requests", got, n)
		}
		return nil
	})
	must(t, w.objects.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Delete(t.Context(), w.ns+"-new", metav1.DeleteOptions{}))
	testkit.Eventually(t, patience, func() error {
		if _, _, err := w.try(w.applier, owner, all); err == nil || !strings.Contains(err.Error(), "being deleted") {
			return fmt.Errorf("a namespace that is being deleted counts as settled: %v", err)
		}
		return nil
	})
}

// An object whose deletion has begun is a drift, told once: whoever applies it meanwhile changes nothing about that. Its
// end is another.
func TestADeletionThatBeginsIsADriftAndItsEndAnother(t *testing.T) {
	w := begin(t, Options{}, configMaps)
	w.apply(w.applier, owner, configMap("a", "1"))
	w.patch("ConfigMap", "a", "someone", `{"metadata":{"finalizers":["example.com/hold"]}}`)
	entries := []inventory.Entry{{ID: inventory.ID{Namespace: w.ns, Name: "a", Kind: "ConfigMap"}, Version: "v1"}}
	if going := w.cache.Ending(entries); len(going) > 0 {
		t.Errorf("%v is not being deleted", going)
	}
	w.delete("ConfigMap", "a")
	w.drift()
	if going := w.cache.Ending(entries); len(going) != 1 {
		t.Errorf("nobody knows that it is being deleted: %v", going)
	}
	w.apply(w.applier, owner, configMap("a", "1"))
	w.patch("ConfigMap", "a", "someone", `{"data":{"other":"field"}}`)
	select {
	case d := <-w.cache.Drifts():
		t.Errorf("told again: %+v", d)
	case <-time.After(300 * time.Millisecond): // as long as watches take, several times over
	}
	w.patch("ConfigMap", "a", "someone", `{"metadata":{"finalizers":null}}`)
	w.drift()
	if going := w.cache.Ending(entries); len(going) > 0 {
		t.Errorf("%v is gone", going)
	}
}
