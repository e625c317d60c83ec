package live

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/plan"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// TestWhatIsSettledIsWhatADryRunLeavesAlone plays random histories of our applies and others' edits. Once the watch has
// caught up, an object may be settled only if an Applier that knows nothing would leave it alone (or nobody would notice
// a wrong cluster), and everything that such an Applier would write must have been told as drift.
func TestWhatIsSettledIsWhatADryRunLeavesAlone(t *testing.T) {
	w := begin(t, Options{}, configMaps, deployments)
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	drifted := map[string]bool{} // told since the last apply
	names := []string{"a", "b", "c"}
	values := map[string]string{}
	state := func() string {
		var texts []string
		for _, n := range names {
			texts = append(texts, configMap(n, values[n]))
		}
		return docs(append(texts, web, configMap("mark", "0"))...)
	}
	for _, n := range names {
		values[n] = "0"
	}
	w.apply(w.applier, owner, state())

	edits := []struct{ what, kind, patch string }{
		{"edits our field", "ConfigMap", `{"data":{"k":"%d"}}`},
		{"removes our field", "ConfigMap", `{"data":{"k":null}}`},
		{"sets its own", "ConfigMap", `{"data":{"theirs":"%d"}}`},
		{"annotates", "ConfigMap", `{"metadata":{"annotations":{"theirs":"%d"}}}`},
		{"takes our label", "ConfigMap", `{"metadata":{"labels":{"` + plan.LabelNamespace + `":"x%d"}}}`},
		{"removes our labels", "ConfigMap", `{"metadata":{"labels":null}}`},
		{"leaves what kubectl leaves", "ConfigMap", `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"%d"}}}`},
		{"scales", "Deployment", `{"spec":{"replicas":%d}}`},
		{"sets our image", "Deployment", `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i%d"}]}}}}`},
	}
	const rounds = 60
	for round := range rounds {
		var history []string
		for range 1 + rnd.IntN(3) {
			history = append(history, w.happen(rnd, names, values, edits))
		}
		w.patch("ConfigMap", "mark", "someone", fmt.Sprintf(`{"data":{"k":"x%d"}}`, round))
		w.patch("Deployment", "web", "someone", fmt.Sprintf(`{"metadata":{"annotations":{"round":"%d"}}}`, round))
		w.caughtUp("ConfigMap", "mark")
		w.caughtUp("Deployment", "web")
		for d, ok := w.cache.drifts.take(); ok; d, ok = w.cache.drifts.take() {
			drifted[d.ID.Name] = true
		}
		for drained := false; !drained; {
			select {
			case d := <-w.cache.Drifts():
				drifted[d.ID.Name] = true
			default:
				drained = true
			}
		}
		objects := w.parse(state())
		plan.Own(objects, owner.Name, owner.Namespace)
		p, err := plan.New(objects, w.olds[owner], plan.Options{Owner: owner, Prune: true})
		must(t, err)
		changes, err := w.fresh.Gather(t.Context(), p, objects)
		must(t, err)
		for i, c := range changes {
			_, settled := w.cache.Settled(objects[i])
			if !settled {
				w.cache.Left(owner, objects[i], nil, false)
			}
			name := c.ID.Name
			if settled && c.Writes() {
				t.Errorf("seed %d, round %d: %s: %s is settled, and a dry-run says %s", seed, round, strings.Join(history, ", "), name, c)
			}
			edited := c.Writes() && values[name] == "0" // not a new manifest
			if edited && !drifted[name] {
				t.Errorf("seed %d, round %d: %s: %s was not told, and a dry-run says %s", seed, round, strings.Join(history, ", "), name, c)
			}
		}
		if t.Failed() {
			return
		}
		w.apply(w.applier, owner, state())
		if got, n := w.apply(w.applier, owner, state()); n != 0 {
			t.Fatalf("seed %d, round %d: after %s and an apply: %s by %d requests", seed, round, strings.Join(history, ", "), got, n)
		}
		clear(drifted)
	}
}

// happen lets one thing happen and names it.
func (w *world) happen(rnd *rand.Rand, names []string, values map[string]string, edits []struct{ what, kind, patch string }) string {
	name := names[rnd.IntN(len(names))]
	exists := w.get("ConfigMap", name) != nil
	switch n := rnd.IntN(len(edits) + 1); {
	case n == len(edits) && exists:
		w.delete("ConfigMap", name)
		return name + " is deleted"
	case n < len(edits) && edits[n].kind == "Deployment":
		w.strategic("web", "someone", numbered(edits[n].patch, rnd))
		return "someone " + edits[n].what
	case n < len(edits) && exists:
		manager := []string{"someone", "kubectl-edit", "another"}[rnd.IntN(3)]
		w.patch("ConfigMap", name, manager, numbered(edits[n].patch, rnd))
		return name + ": " + manager + " " + edits[n].what
	}
	return "nothing"
}

func numbered(patch string, rnd *rand.Rand) string {
	return strings.ReplaceAll(patch, "%d", fmt.Sprint(rnd.IntN(3)))
}

func (w *world) get(kind, name string) *unstructured.Unstructured {
	w.Helper()
	list, err := w.objects.Resource(resources[kind]).Namespace(w.ns).List(w.Context(), metav1.ListOptions{})
	must(w, err)
	if i := slices.IndexFunc(list.Items, func(u unstructured.Unstructured) bool { return u.GetName() == name }); i >= 0 {
		return &list.Items[i]
	}
	return nil
}

// caughtUp waits until the watch has shown the object as it is.
func (w *world) caughtUp(kind, name string) {
	w.Helper()
	u := w.get(kind, name)
	k := w.cache.kind(u.GroupVersionKind())
	testkit.Eventually(w, patience, func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if r := k.records[place{w.ns, name}]; r == nil || r.rv < number(u.GetResourceVersion()) {
			return fmt.Errorf("%s is not seen at %s", name, u.GetResourceVersion())
		}
		return nil
	})
}
