package faults

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/crds"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// standing is a world in which Kustomization a (ten ConfigMaps) and b (one) are applied and the watches vouch for them.
func standing(t *testing.T, w *world) *world {
	t.Helper()
	w.push(tenMaps("1"))
	w.source()
	w.kustomization("a", nil)
	w.kustomization("b", nil)
	w.start()
	w.applied("a", "b")
	return w
}

func tenMaps(value string) map[string]string {
	files := map[string]string{"b/other.yaml": configMap("other", "1")}
	for i := range 10 {
		files[fmt.Sprintf("a/cm%d.yaml", i)] = configMap(fmt.Sprintf("cm%d", i), value)
	}
	return files
}

// uids tells the identity of every ConfigMap of the world's namespace.
func (w *world) uids() map[string]types.UID {
	w.t.Helper()
	var list corev1.ConfigMapList
	w.eventually(func() error { return w.client.List(w.t.Context(), &list, inNamespace(w.namespace)) })
	ids := map[string]types.UID{}
	for _, cm := range list.Items {
		ids[cm.Name] = cm.UID
	}
	return ids
}

// same checks that everything is still what it was: nothing was pruned and made again.
func (w *world) same(before map[string]types.UID) {
	w.t.Helper()
	now := w.uids()
	for name, id := range before {
		if now[name] != id {
			w.t.Errorf("I2: %s is not the object that it was", name)
		}
	}
}

// Whatever the API server answers for a while, the process lives on, deletes nothing, claims nothing that is not so, and
// ends where it should without a restart.
func TestTheAPIServersFaultsPass(t *testing.T) {
	flaky := func(every int, f fault) func(call) fault { // watches have a test of their own
		n := 0
		return func(c call) fault {
			if c.watch {
				return nil
			}
			if n++; n%every == 0 {
				return f
			}
			return nil
		}
	}
	all := func(f fault) func(call) fault { return func(call) fault { return f } }
	for _, tt := range []struct {
		name string
		on   func(call) fault
		down bool // nothing gets through
	}{
		{"refuses connections", all(unreachable), true},
		{"500 for everything", all(answer(500, metav1.StatusReasonInternalError, 0)), true},
		{"503 for everything", all(answer(503, metav1.StatusReasonServiceUnavailable, 0)), true},
		{"504 for every write", func(c call) fault {
			if c.writes() {
				return answer(504, metav1.StatusReasonTimeout, 0)
			}
			return nil
		}, true},
		{"429 for every other request", flaky(2, answer(429, metav1.StatusReasonTooManyRequests, 1)), false},
		{"one reply in 25 is lost", flaky(25, dropReply), false},
		{"one request in 25 is a 500", flaky(25, answer(500, metav1.StatusReasonInternalError, 0)), false},
		{"slow", flaky(1, slowly(150*time.Millisecond)), false},
		{"410 for lists and watches", func(c call) fault {
			if c.list {
				return answer(410, metav1.StatusReasonExpired, 0)
			}
			return nil
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := standing(t, newWorld(t))
			before := w.uids()
			w.api.since(func(call) bool { return false })
			w.api.on(tt.on)
			w.api.cutWatches()
			w.push(map[string]string{"a/cm3.yaml": configMap("cm3", "2"), "a/cm4.yaml": "", "a/new.yaml": configMap("new", "1")})
			if tt.down {
				w.eventually(func() error {
					if n := len(w.api.since(func(call) bool { return true })); n == 0 {
						return fmt.Errorf("nothing was asked while the server was down")
					}
					return nil
				})
				if got, err := w.value("cm3"); err != nil || got != "1" {
					t.Errorf("cm3 is %q, %v", got, err)
				}
				if k, err := w.get("a"); err != nil || k.Status.LastAppliedRevision == w.rev {
					t.Errorf("I3: a says that it applied %s, %v", w.rev, err)
				}
				w.api.on(nil)
			} else {
				w.hasValue("cm3", "2") // although it goes on
				w.api.on(nil)
			}
			w.poke(w.repository()) // the request may have fallen on deaf ears
			w.applied("a", "b")
			delete(before, "cm4")
			w.same(before)
			if ids := w.uids(); ids["cm4"] != "" || ids["new"] == "" {
				t.Errorf("it ended elsewhere: %v", ids)
			}
			w.quiet("a", "b")
			if w.kills > 0 || w.dead() {
				t.Error("it was restarted")
			}
		})
	}
}

// A reply that is lost after a status write must not leave a status that nobody writes again: what the server holds is
// then unknown, and is asked for.
func TestAStatusWhoseReplyWasLostIsPutRight(t *testing.T) {
	t.Parallel()
	w := standing(t, newWorld(t))
	lost := make(chan struct{}, 16)
	w.api.on(func(c call) fault { // "Applying …" is stored, and the process doesn't know; nothing else of a goes through
		if !strings.HasSuffix(c.path, "/kustomizations/a/status") {
			return nil
		}
		return func(rw http.ResponseWriter, r *http.Request, pass func() *http.Response) {
			select {
			case lost <- struct{}{}:
			default:
			}
			dropReply(rw, r, pass)
		}
	})
	old, was := w.git("rev-parse", "HEAD"), w.rev
	w.push(map[string]string{"a/cm3.yaml": configMap("cm3", "2"), "a/new.yaml": configMap("new", "1")})
	w.eventually(func() error {
		if len(lost) == 0 {
			return fmt.Errorf("no status of a was written")
		}
		return nil
	})
	// The old revision again: to who believes that its last word was never heard, everything is as it was.
	w.git("reset", "-q", "--hard", old)
	w.publish()
	w.applied("b")
	if w.rev != was {
		t.Fatalf("%s is not %s", w.rev, was)
	}
	w.eventually(func() error { // a's attempt at it has come to its end
		if n := strings.Count(w.log.String(), was); n < 4 {
			return fmt.Errorf("the log tells of %s %d times", was, n)
		}
		return nil
	})
	w.api.on(nil)
	w.applied("a", "b")
	w.hasValue("cm3", "1")
	w.eventually(func() error {
		k, err := w.get("a")
		if err == nil && len(k.Status.Inventory.Entries) != 10 {
			err = fmt.Errorf("the inventory has %d entries, want 10", len(k.Status.Inventory.Entries))
		}
		return err
	})
	w.quiet("a", "b")
}

// Watches that break again and again lose no drift and invent none, and leave nothing behind in memory (I7).
func TestCutWatchesLoseNothingAndLeaveNothing(t *testing.T) {
	t.Parallel()
	w := standing(t, newWorld(t))
	w.quiet("a", "b")
	before, err := w.stats()
	if err != nil {
		t.Fatal(err)
	}
	rounds := 3
	if soak {
		rounds = 30
	}
	drifts := 0
	for i := range rounds {
		if w.api.cutWatches() == 0 {
			t.Log("no watch was open in round", i)
		}
		if i < 3 || i == rounds-1 { // one deletion after the other would be a fight, and be answered more and more slowly
			drifts++
			w.guarded("cm3", "1")
		}
		w.push(map[string]string{"b/other.yaml": configMap("other", fmt.Sprint(i+2))})
		w.applied("a", "b")
	}
	w.applied("a", "b")
	w.backTo(before)
	if n := strings.Count(w.log.String(), `"msg":"drift"`); n > drifts {
		t.Errorf("%d drifts were seen, there were %d", n, drifts)
	}
}

// backTo waits until the process holds no more goroutines than before, some idle connections aside, and not much more memory.
func (w *world) backTo(before stats) {
	w.t.Helper()
	w.eventually(func() error {
		now, err := w.stats()
		if err == nil && (now.Goroutines > before.Goroutines+12 || now.Heap > before.Heap+8<<20) {
			err = fmt.Errorf("I7: it holds %+v, before the faults %+v", now, before)
		}
		return err
	})
}

// back is how soon after the API server's return everything must be as it should: what trust.md's fault matrix allows.
const back = 30 * time.Second

// The API server is killed in the middle of an apply, and etcd forgets what was before, so that watches begin anew. Once
// it is back, the controllers go on by themselves, soon, however long it was away.
func TestAKilledAPIServerAndACompactedEtcdAreSurvived(t *testing.T) {
	t.Parallel()
	server := testkit.ClusterToBreak(t)
	testkit.InstallCRDs(t, server.Env, crds.YAML())
	w := standing(t, worldOn(t, server.Env))
	before := w.uids()
	w.api.since(func(call) bool { return false })
	w.push(tenMaps("2")) // and while that is written, the server dies
	w.eventually(func() error {
		if len(w.api.since(func(c call) bool { return c.writes() && strings.Contains(c.path, "/configmaps/") })) == 0 {
			return fmt.Errorf("nothing is written yet")
		}
		return nil
	})
	server.Kill()
	server.Compact()
	asked := 0
	w.eventually(func() error {
		if asked += len(w.api.since(func(call) bool { return true })); asked < 30 {
			return fmt.Errorf("%d requests went unanswered", asked)
		}
		return nil
	})
	server.Start()
	start := time.Now()
	w.applied("a", "b")
	w.same(before)
	for i := range 10 {
		w.hasValue(fmt.Sprintf("cm%d", i), "2")
	}
	w.guarded("cm3", "2") // by watches that began anew
	if d := time.Since(start); d > back {
		t.Errorf("it was as it should be %v after the server's return, want at most %v", d, back)
	}
	w.quiet("a", "b")
	if w.dead() || w.kills > 0 {
		t.Error("the controllers were restarted")
	}
}
