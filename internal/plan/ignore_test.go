package plan

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func compiled(t *testing.T, rules ...IgnoreRule) Ignore {
	t.Helper()
	g, err := CompileIgnore(rules)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

const deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: ns, labels: {app: web}, annotations: {a/b: x}},
  spec: {replicas: 1, template: {spec: {containers: [{name: sidecar, image: s}, {name: web, image: w}]}}}}`

func TestIgnoreRulesSelectAsFluxDoes(t *testing.T) {
	u := object(t, deployment)
	for _, c := range []struct {
		rule IgnoreRule
		want bool
	}{
		{IgnoreRule{}, true},
		{IgnoreRule{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "ns", Name: "web"}, true},
		{IgnoreRule{Kind: "Deploy"}, false}, // whole, not a part
		{IgnoreRule{Kind: "Deploy.*|Job"}, true},
		{IgnoreRule{Kind: "Job|Deploy"}, false}, // anchored around the alternatives
		{IgnoreRule{Name: "w.b", Kind: "Job"}, false},
		{IgnoreRule{Namespace: "other"}, false},
		{IgnoreRule{LabelSelector: "app in (web, api)"}, true},
		{IgnoreRule{LabelSelector: "app=api"}, false},
		{IgnoreRule{AnnotationSelector: "a/b=x"}, true},
		{IgnoreRule{AnnotationSelector: "!a/b"}, false},
	} {
		c.rule.Paths = []string{"/spec/replicas"}
		if got := compiled(t, c.rule).Concerns(u); got != c.want {
			t.Errorf("%+v concerns it: %v", c.rule, got)
		}
	}
	// Without a target, every rule counts, not only the last.
	both := compiled(t, IgnoreRule{Paths: []string{"/spec/replicas"}}, IgnoreRule{Paths: []string{"/spec/template"}})
	if got := both.Strip(u, u); len(got.Object["spec"].(map[string]any)) != 0 || u.Object["spec"].(map[string]any)["replicas"] == nil {
		t.Errorf("stripped %v of %v", got.Object["spec"], u.Object["spec"])
	}
	_, err := CompileIgnore([]IgnoreRule{{Paths: []string{"spec"}, Kind: "("}, {Paths: []string{"/"}, LabelSelector: "a==="}})
	for _, want := range []string{"spec.ignore[0].paths", "spec.ignore[0].target.kind", "spec.ignore[1].paths", "spec.ignore[1].target.labelSelector"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %s", err, want)
		}
	}
}

// owns gives u a managedFields entry.
func owns(t *testing.T, u *unstructured.Unstructured, manager, operation, fields string) {
	t.Helper()
	var set map[string]any
	if err := json.Unmarshal([]byte(fields), &set); err != nil {
		t.Fatal(err)
	}
	metadata := u.Object["metadata"].(map[string]any)
	entries, _ := metadata["managedFields"].([]any)
	metadata["managedFields"] = append(entries, map[string]any{
		"manager": manager, "operation": operation, "apiVersion": u.GetAPIVersion(), "fieldsType": "FieldsV1", "fieldsV1": set,
	})
}

func TestStrippingTakesOwnershipAlongAndLeavesNoEmptyNode(t *testing.T) {
	u := object(t, deployment)
	owns(t, u, "m", "Apply", `{"f:metadata":{"f:annotations":{"f:a/b":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":
		{"k:{\"name\":\"web\"}":{".":{},"f:image":{},"f:name":{}},"k:{\"name\":\"sidecar\"}":{".":{},"f:image":{}}}}}}}`)
	g := compiled(t, IgnoreRule{Paths: []string{"/metadata/annotations/a~1b", "/spec/replicas", "/spec/template/spec/containers/1/image", "/spec/missing/0/x", "/spec/template/spec/containers/7/image"}})
	out := g.Strip(u, u)
	raw, err := json.Marshal(out.Object["metadata"].(map[string]any)["managedFields"].([]any)[0].(map[string]any)["fieldsV1"])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"sidecar\"}":{".":{},"f:image":{}},"k:{\"name\":\"web\"}":{".":{},"f:name":{}}}}}}}`
	if string(raw) != want {
		t.Errorf("owned:\n%s\nwant\n%s", raw, want)
	}
	spec, err := json.Marshal(out.Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"template":{"spec":{"containers":[{"image":"s","name":"sidecar"},{"name":"web"}]}}}`; string(spec) != want {
		t.Errorf("spec = %s, want %s", spec, want)
	}
	if len(out.GetAnnotations()) != 0 || u.GetAnnotations()["a/b"] != "x" {
		t.Errorf("annotations: %v, of the original %v", out.GetAnnotations(), u.GetAnnotations())
	}
	last := compiled(t, IgnoreRule{Paths: []string{"/spec/template/spec/containers/-1"}}).Strip(u, u)
	if list, _, _ := unstructured.NestedSlice(last.Object, "spec", "template", "spec", "containers"); len(list) != 1 {
		t.Errorf("containers left: %v", list)
	}
}

func TestAnApplyYieldsWhatOthersAppliedAndAdoptsTheRest(t *testing.T) {
	desired, live, merged := object(t, deployment), object(t, deployment), object(t, deployment)
	for path, v := range map[string]any{"replicas": int64(5), "paused": true} {
		live.Object["spec"].(map[string]any)[path] = v
	}
	g := compiled(t, IgnoreRule{Paths: []string{"/spec/replicas", "/spec/paused", "/spec/template/spec/containers/1/image"}})
	spec := func(u *unstructured.Unstructured) map[string]any { return u.Object["spec"].(map[string]any) }

	out := g.Yield(desired, live, merged, "m")
	if spec(out)["replicas"] != int64(5) || spec(out)["paused"] != true || spec(desired)["replicas"] != int64(1) {
		t.Errorf("adopted %v of %v", spec(out), spec(desired))
	}
	owns(t, live, "m", "Apply", `{"f:spec":{"f:replicas":{}}}`)
	owns(t, live, "hand", "Update", `{"f:spec":{"f:replicas":{}}}`)
	if out := g.Yield(desired, live, merged, "m"); spec(out)["replicas"] != int64(5) {
		t.Errorf("an update takes the field away: %v", spec(out))
	}
	owns(t, live, "scaler", "Apply", `{"f:spec":{"f:replicas":{}}}`)
	if out := g.Yield(desired, live, merged, "m"); spec(out)["replicas"] != nil {
		t.Errorf("what another manager applied is not left out: %v", spec(out))
	}
	if out := g.Yield(desired, merged, merged, "m"); out != desired {
		t.Error("where nothing differs, the manifest is changed")
	}
	if c := compiled(t, IgnoreRule{Paths: []string{"/spec/replicas"}}); g.Equal(c) || !c.Equal(compiled(t, IgnoreRule{Paths: []string{"/spec/replicas"}})) {
		t.Error("rules are not compared by what they say")
	}
}

func TestIgnoredFieldsDecideNothing(t *testing.T) {
	p := &Plan{Options: Options{Owner: apps, Ignore: compiled(t, IgnoreRule{Paths: []string{"/data/k"}})}}
	c, err := p.Decide(configMap(t, "1"), Live{Object: live(configMap(t, "2")), DryRun: live(configMap(t, "1"))})
	if err != nil || c.Action != Unchanged {
		t.Errorf("%s, %v", c, err)
	}
	p.Ignore = nil
	if c, err := p.Decide(configMap(t, "1"), Live{Object: live(configMap(t, "2")), DryRun: live(configMap(t, "1"))}); err != nil || c.Action != Configured {
		t.Errorf("%s, %v", c, err)
	}
}

func TestKindsOfTheirOwnStageComeBeforeTheResources(t *testing.T) {
	desired := []*unstructured.Unstructured{
		object(t, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: a, namespace: ns}}`),
		object(t, `{apiVersion: example.com/v1, kind: Widget, metadata: {name: w, namespace: ns}}`),
		object(t, `{apiVersion: v1, kind: Namespace, metadata: {name: ns}}`),
		object(t, `{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}}`),
	}
	early, err := ParseGroupKinds("example.com/Widget, Namespace,storage.k8s.io/StorageClass")
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(desired, Plan{}.Old, Options{Owner: apps, Early: early})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range p.Stages {
		for _, u := range s.Objects {
			got = append(got, s.Stage.String()+"/"+u.GetKind())
		}
	}
	if s := strings.Join(got, " "); s != "definitions/Namespace classes/StorageClass custom kinds/Widget resources/ServiceAccount" {
		t.Errorf("stages: %s", s)
	}
	for _, bad := range []string{"a/b/c", "/Widget", "a/", ",,"} {
		if _, err := ParseGroupKinds(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestManagersOfTheFlagAreTakenOverInBothOperations(t *testing.T) {
	is := live(configMap(t, "1"), "argocd-controller/Apply", "argocd/Update", "other/Update")
	p := &Plan{Options: Options{Owner: apps, TakeOver: Overriding([]string{"argocd"})}}
	c, err := p.Decide(configMap(t, "1"), Live{Object: is, DryRun: is, Settled: true})
	if err != nil || strings.Join(c.TakeOver, " ") != "argocd-controller argocd" {
		t.Errorf("taken over: %v, %v", c.TakeOver, err)
	}
}
