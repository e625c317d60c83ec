package reconcile

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/source"
)

func TestHistoryKeepsOneEntryPerOutcomeOfOneSet(t *testing.T) {
	w := newWorld(t)
	first := w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	w.source()
	k := w.kustomization("a", nil)
	got := w.until(k, "True", first)
	if len(got.Status.History) != 1 {
		t.Fatalf("history = %+v, want one entry", got.Status.History)
	}
	entry := got.Status.History[0]
	if entry.LastReconciledStatus != "ReconciliationSucceeded" || entry.Metadata["revision"] != first || entry.TotalReconciliations < 1 ||
		!strings.HasPrefix(entry.Digest, "sha256:") {
		t.Errorf("history[0] = %+v", entry)
	}

	// A revision that changes nothing for it counts for the same set.
	same := w.push(map[string]string{"elsewhere": "x"})
	got = w.until(k, "True", same)
	if h := got.Status.History; len(h) != 1 || h[0].TotalReconciliations <= entry.TotalReconciliations || h[0].Metadata["revision"] != same {
		t.Errorf("after an unrelated commit: %+v", h)
	}

	w.push(map[string]string{"a/one.yaml": configMap("one", "2")})
	w.until(k, "True", "Applied")
	bad := w.push(map[string]string{"a/one.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: one\ndata:\n  key: [1]\n"})
	got = w.until(k, "False", "apply")
	if h := got.Status.History; len(h) != 3 || h[0].LastReconciledStatus != "ReconciliationFailed" || h[0].Metadata["revision"] != bad {
		t.Errorf("after a failed apply: %+v", h)
	}

	// Back to the first set: its entry moves to the front.
	back := w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	got = w.until(k, "True", back)
	if h := got.Status.History; len(h) != 3 || h[0].Digest != entry.Digest || h[0].TotalReconciliations < 3 {
		t.Errorf("after going back: %+v", h)
	}

	// A restart draws a new key and carries the entry on.
	w.stop()
	digestKey[0]++
	w.start()
	rev := w.push(map[string]string{"elsewhere": "y"})
	got = w.until(k, "True", rev)
	if h := got.Status.History; len(h) != 3 || h[0].Digest != entry.Digest {
		t.Errorf("after a restart: %+v", h)
	}
}

func TestTheHistoryDigestTellsNothingOfTheValues(t *testing.T) {
	set := []*unstructured.Unstructured{{Object: map[string]any{"kind": "Secret", "data": map[string]any{"pin": "MTIzNA=="}}}}
	first, err := digestOf(set)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := digestOf(set); again != first {
		t.Error("one set has two digests")
	}
	digestKey[0]++
	defer func() { digestKey[0]-- }()
	if guess, _ := digestOf(set); guess == first {
		t.Error("the digest can be computed without the process's key")
	}
}

func TestFiveSnapshotsAreKept(t *testing.T) {
	var m memory
	var h meta.History
	a := &attempt{obj: &Kustomization{}, mem: &m, rev: testRevision("r")}
	for i := range 8 {
		a.digest = "sha256:" + strings.Repeat(string(rune('a'+i)), 64)
		a.record(meta.ReconciliationSucceededReason, "changed")
	}
	if h = a.obj.Status.History; len(h) != meta.HistoryMaxSize || h[0].Digest != a.digest {
		t.Errorf("kept %d snapshots, the first %s", len(h), h[0].Digest)
	}
}

func testRevision(name string) *source.Revision { return &source.Revision{Name: name} }
