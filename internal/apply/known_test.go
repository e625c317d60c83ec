package apply

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// notebook is a Known that settles what it is told to, and writes down what it hears.
type notebook struct {
	settled map[string]types.UID
	heard   []string
	asked   int
}

func (n *notebook) Absent(inventory.ID) bool { return false }

func (n *notebook) Settled(u *unstructured.Unstructured) (types.UID, bool) {
	uid, ok := n.settled[u.GetName()]
	if !ok {
		n.asked++
	}
	return uid, ok
}

func (n *notebook) Left(_ plan.Owner, desired, left *unstructured.Unstructured, owned bool) {
	n.asked--
	what := "as it stood"
	if left != nil {
		what = "whole"
		if len(left.GetManagedFields()) == 0 || left.GetKind() == "Secret" && left.Object["data"] == nil {
			what = "in parts"
		}
		if !owned {
			what += ", not ours"
		}
	}
	n.heard = append(n.heard, desired.GetName()+" left "+what)
}

func (n *notebook) Released(_ plan.Owner, id inventory.ID) {
	n.heard = append(n.heard, id.Name+" released")
}

func TestTheKnownIsToldOnceWhatBecameOfEachObjectThatItDidNotSettle(t *testing.T) {
	b := setUp(t)
	b.apply.Concurrency = 1 // so that the order is one
	n := &notebook{settled: map[string]types.UID{}}
	b.apply = b.apply.Knowing(n)
	secret := `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: NS}, stringData: {k: v}}`
	second := strings.ReplaceAll(cmA, "name: a", "name: b")
	step := func(name, text, want, requests string) {
		t.Helper()
		n.heard = nil
		_, _ = b.run(text)
		if got := strings.Join(n.heard, ", "); got != want {
			t.Errorf("%s: heard %s, want %s", name, got, want)
		}
		if got := b.count.String(); got != requests {
			t.Errorf("%s: requests %s, want %s", name, got, requests)
		}
		if n.asked != 0 {
			t.Errorf("%s: %d objects are waited for forever", name, n.asked)
		}
	}
	step("create", cmA+"\n---\n"+secret, "a left whole, s left whole", "DRYRUN DRYRUN PATCH PATCH")
	step("unchanged", cmA+"\n---\n"+secret, "a left whole, s left whole", "DRYRUN GET DRYRUN GET")
	n.settled["a"], n.settled["s"] = "ua", "us"
	step("settled", cmA+"\n---\n"+secret, "", "")
	step("settled beside a new one", cmA+"\n---\n"+secret+"\n---\n"+second, "b left whole", "DRYRUN PATCH")
	step("refused", cmA+"\n---\n"+strings.ReplaceAll(second, `"1"`, "[1]")+"\n---\n"+strings.ReplaceAll(cmA, "name: a", "name: c"),
		"b left as it stood, c left as it stood", "DRYRUN DRYRUN")
	step("pruned", cmA, "b released, s released", "GET DELETE GET DELETE")
	step("if not present", `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NS, annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}}}`, "a released", "GET")
	step("unmanaged", `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NS, annotations: {kustomize.toolkit.fluxcd.io/reconcile: disabled}}}`, "a released", "")
}

// TestASettledObjectIsNotPrunedUnderItsOldName is about an object that is known under two groups, of which the old one was
// left in the inventory by an attempt that failed.
func TestASettledObjectIsNotPrunedUnderItsOldName(t *testing.T) {
	b := setUp(t)
	b.must(cmA)
	cm, err := b.kube.CoreV1().ConfigMaps(b.ns).Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	settled := strings.ReplaceAll(cmA, "name: a", "name: new") // stands for the same object under its new name
	b.apply = b.apply.Knowing(&notebook{settled: map[string]types.UID{"new": cm.UID}})
	if got := actions(b.must(settled)); got != "ConfigMap/new unchanged, ConfigMap/a kept" {
		t.Error(got)
	}
}

func TestAFieldThatIsOthersAtOurValueIsLeftAsNotOurs(t *testing.T) {
	b := setUp(t)
	n := &notebook{}
	b.apply = b.apply.Knowing(n)
	b.must(cmA)
	for _, v := range []string{"2", "1"} {
		if _, err := b.kube.CoreV1().ConfigMaps(b.ns).Patch(t.Context(), "a", types.MergePatchType, []byte(`{"data":{"k":"`+v+`"}}`), metav1.PatchOptions{FieldManager: "someone"}); err != nil {
			t.Fatal(err)
		}
	}
	n.heard = nil
	if got := actions(b.must(cmA)); got != "ConfigMap/a unchanged" || strings.Join(n.heard, "") != "a left whole, not ours" {
		t.Errorf("%s; heard %v", got, n.heard)
	}
}
