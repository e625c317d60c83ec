package apply

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/plan"
)

func ignoring(t *testing.T, paths ...string) func(*plan.Options) {
	t.Helper()
	g, err := plan.CompileIgnore([]plan.IgnoreRule{{Paths: paths, Kind: "ConfigMap"}})
	if err != nil {
		t.Fatal(err)
	}
	return func(o *plan.Options) { o.Ignore = g }
}

// patch writes to ConfigMap a as another manager; an apply if body is a whole manifest.
func (b *bench) patch(kind types.PatchType, body, manager string) {
	b.t.Helper()
	o := metav1.PatchOptions{FieldManager: manager}
	if kind == types.ApplyPatchType {
		o.Force = new(true)
	}
	_, err := b.kube.CoreV1().ConfigMaps(b.ns).Patch(b.t.Context(), "a", kind, []byte(body), o)
	if err != nil {
		b.t.Fatal(err)
	}
}

// values gives ConfigMap a's data as "k=v k=v", and who owns data.k.
func (b *bench) values() (data string, owners string) {
	b.t.Helper()
	cm, err := b.kube.CoreV1().ConfigMaps(b.ns).Get(b.t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	var pairs, names []string
	for _, k := range []string{"k", "l"} {
		if v, ok := cm.Data[k]; ok {
			pairs = append(pairs, k+"="+v)
		}
	}
	for _, e := range cm.ManagedFields {
		if strings.Contains(e.FieldsV1.GetRawString(), `"f:k":`) {
			names = append(names, e.Manager+"/"+string(e.Operation))
		}
	}
	return strings.Join(pairs, " "), strings.Join(names, " ")
}

func TestIgnoredFieldsAreLeftToOthersAndStillCreated(t *testing.T) {
	const both = `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NS}, data: {k: "1", l: "1"}}`
	b, ignore := setUp(t), ignoring(t, "/data/k")
	expect := func(step, data, owners string) {
		t.Helper()
		if d, o := b.values(); d != data || o != owners {
			t.Errorf("%s: data %q of %q, want %q of %q", step, d, o, data, owners)
		}
	}
	b.must(both, ignore)
	expect("created whole", "k=1 l=1", "kustomize-controller/Apply")

	b.patch(types.MergePatchType, `{"data":{"k":"9"}}`, "scaler")
	if got := actions(b.must(both, ignore)); got != "ConfigMap/a unchanged" {
		t.Errorf("a change of an ignored field: %s", got)
	}
	expect("nothing is written", "k=9 l=1", "scaler/Update")

	b.patch(types.MergePatchType, `{"data":{"l":"9"}}`, "scaler")
	if got := actions(b.must(both, ignore)); got != "ConfigMap/a configured" {
		t.Errorf("a change beside an ignored field: %s", got)
	}
	expect("adopted", "k=9 l=1", "kustomize-controller/Apply scaler/Update")

	b.patch(types.ApplyPatchType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"7"}}`, "vpa")
	b.must(strings.ReplaceAll(both, `l: "1"`, `l: "2"`), ignore)
	expect("given up to who applied it", "k=7 l=2", "vpa/Apply")

	b.patch(types.MergePatchType, `{"data":{"k":"8"}}`, "kubectl-edit") // the takeover reads the object for the rules' sake
	b.must(both, ignoring(t, "/data/k"))
	if data, _ := b.values(); data != "k=8 l=1" {
		t.Errorf("after a takeover: %s", data)
	}
	b.must(both)
	expect("without the rule it is ours again", "k=1 l=1", "kustomize-controller/Apply")
}

func TestFieldsOfManagersThatAFlagNamesAreTakenOver(t *testing.T) {
	b := setUp(t)
	override := func(o *plan.Options) { o.TakeOver = plan.Overriding([]string{"argocd"}) }
	b.must(cmA)
	b.patch(types.ApplyPatchType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"l":"1"}}`, "argocd-controller")
	if got := actions(b.must(cmA)); got != "ConfigMap/a unchanged" {
		t.Errorf("without the flag: %s", got)
	}
	b.must(cmA, override)
	if data, owners := b.values(); data != "k=1" || owners != "kustomize-controller/Apply" {
		t.Errorf("data %q of %q", data, owners)
	}
	if got := actions(b.must(cmA, override)); got != "ConfigMap/a unchanged" {
		t.Errorf("once more: %s", got)
	}
}
