package faults

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Whatever becomes of the remote, the last good state stands and goes on being guarded, the GitRepository says what is
// wrong and where, and once the remote is well the next attempt, not a person, brings the new revision.
func TestTheRemotesFaultsKeepTheLastGoodState(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(*world) http.HandlerFunc
		texts []string // of the GitRepository's Ready condition
	}{
		{"gone", func(*world) http.HandlerFunc { return gone }, []string{"git"}},
		{"silent", func(*world) http.HandlerFunc { return silent }, []string{"git"}},
		{"refuses", func(*world) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
		}, []string{"git", "403"}},
		{"broken", func(*world) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
		}, []string{"git", "502"}},
		{"corrupt packs", func(w *world) http.HandlerFunc { return corrupting(w.remote.next) }, []string{"git"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := standing(t, newWorld(t))
			w.patch(w.repository(), `{"spec":{"timeout":"1s"}}`)
			w.untilSource(metav1.ConditionTrue)
			before := w.uids()
			w.remote.breaks(tt.fault(w))
			w.push(map[string]string{"a/cm3.yaml": configMap("cm3", "2"), "a/cm4.yaml": ""})
			w.untilSource(metav1.ConditionFalse, tt.texts...)
			w.guarded("cm5", "1")
			w.same(without(before, "cm5"))
			if got, err := w.value("cm3"); err != nil || got != "1" {
				t.Errorf("cm3 is %q, %v", got, err)
			}
			w.remote.breaks(nil)
			w.applied("a", "b")
			w.untilSource(metav1.ConditionTrue)
			w.hasValue("cm3", "2")
			w.quiet("a", "b")
		})
	}
}

func without[V any](m map[string]V, name string) map[string]V {
	delete(m, name)
	return m
}

// patch applies a merge patch.
func (w *world) patch(o client.Object, body string) {
	w.t.Helper()
	if err := w.client.Patch(w.t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(body))); err != nil {
		w.t.Fatal(err)
	}
}

// guarded deletes a ConfigMap by hand and waits until it is back.
func (w *world) guarded(name, value string) {
	w.t.Helper()
	cm := configMapObject(w.namespace, name)
	if err := w.client.Delete(w.t.Context(), cm); err != nil {
		w.t.Fatal(err)
	}
	w.hasValue(name, value)
}

// A branch that is rewritten is followed, wherever it leads; what the new tip doesn't hold is pruned, and nothing else. A
// branch that is deleted prunes nothing.
func TestARewrittenBranchIsFollowedAndADeletedOnePrunesNothing(t *testing.T) {
	t.Parallel()
	w := standing(t, newWorld(t))
	before := w.uids()

	w.push(map[string]string{"a/cm3.yaml": configMap("cm3", "2")})
	w.applied("a", "b")
	w.git("reset", "-q", "--hard", "HEAD~1") // force-pushed back
	w.publish()
	w.applied("a", "b")
	w.hasValue("cm3", "1")

	w.git("checkout", "-q", "--orphan", "unrelated") // a history with which the old one shares nothing
	w.push(map[string]string{"a/cm9.yaml": "", "a/cm3.yaml": configMap("cm3", "3")})
	w.applied("a", "b")
	w.hasValue("cm3", "3")
	delete(before, "cm9")
	w.same(before)
	if ids := w.uids(); ids["cm9"] != "" {
		t.Error("what the new history does not hold is still there")
	}

	head := w.git("rev-parse", "HEAD")
	w.git("-C", w.git("remote", "get-url", "origin"), "config", "receive.denyDeleteCurrent", "ignore")
	w.git("push", "-q", "origin", "HEAD:elsewhere", ":main") // so that the remote isn't empty
	w.poke(w.repository())
	w.untilSource(metav1.ConditionFalse, "main")
	w.guarded("cm5", "1")
	delete(before, "cm5")
	w.same(before)
	w.git("push", "-q", "origin", head+":refs/heads/main")
	w.untilSource(metav1.ConditionTrue)
	w.applied("a", "b")
	w.quiet("a", "b")
}

// What the mirror has on disk is damaged, under a running process and before the next one starts: it is fetched anew.
func TestADamagedMirrorIsFetchedAnew(t *testing.T) {
	t.Parallel()
	w := standing(t, newWorld(t))
	before := w.uids()
	for round, restart := range []bool{false, true, true} {
		if restart {
			w.kill(true)
		}
		w.damage(round == 2)
		if restart {
			w.start()
		}
		value := fmt.Sprint(round + 2)
		w.push(map[string]string{"a/cm3.yaml": configMap("cm3", value)})
		w.applied("a", "b")
		w.hasValue("cm3", value)
		w.untilSource(metav1.ConditionTrue)
	}
	w.same(before)
	w.quiet("a", "b")
}

// damage flips bytes of every pack on disk, or cuts every file of the mirrors off.
func (w *world) damage(cut bool) {
	w.t.Helper()
	packs := 0
	err := filepath.Walk(filepath.Join(w.options.Storage, "mirrors"), func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || !cut && !strings.HasSuffix(path, ".pack") {
			return err
		}
		packs++
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if cut {
			return os.Truncate(path, int64(len(data)/2))
		}
		for i := 12; i < len(data); i += 7 {
			data[i] ^= 0x55
		}
		return os.WriteFile(path, data, 0o600) // in place: open files see it
	})
	if err != nil || packs == 0 {
		w.t.Fatalf("%d packs damaged, %v", packs, err)
	}
}

// A neighbour that uses another remote notices nothing of a remote that is silent (I8): its commits are applied while the
// other's attempt still waits.
func TestASilentRemoteHoldsUpNoNeighbour(t *testing.T) {
	t.Parallel()
	w := standing(t, newWorld(t))
	reached := make(chan struct{}, 16)
	url := silentHost(t, reached)
	var bad *sourcev1.GitRepository
	for i := range 3 * concurrent {
		bad = &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: fmt.Sprint("silent-", i)}}
		bad.Spec = sourcev1.GitRepositorySpec{
			URL: url, Interval: metav1.Duration{Duration: time.Hour}, Timeout: &metav1.Duration{Duration: 10 * time.Minute},
			Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		}
		w.create(bad)
	}
	for range concurrent {
		<-reached // from here on as many fetches as may work at a time are held for ten minutes
	}
	for i := range 3 {
		value := fmt.Sprint(i + 2)
		w.push(map[string]string{"a/cm3.yaml": configMap("cm3", value)})
		w.applied("a", "b")
		w.hasValue("cm3", value)
	}
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(bad), bad); err != nil || bad.Status.Artifact != nil {
		t.Errorf("the silent remote has answered: %v", err)
	}
}

// A reply that is lost after the GitRepository's status was written leaves it no less true, even while the watch that would
// show what is stored is down.
func TestAGitRepositoryWhoseStatusReplyWasLostIsPutRight(t *testing.T) {
	t.Parallel()
	w := standing(t, newWorld(t))
	w.patch(w.repository(), `{"spec":{"interval":"1s","timeout":"1s"}}`)
	w.eventually(func() error { // and the process has seen that
		o := w.repository()
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil || o.Status.ObservedGeneration != o.Generation {
			return fmt.Errorf("the source is at generation %d, want %d: %v", o.Status.ObservedGeneration, o.Generation, err)
		}
		return nil
	})
	w.api.on(func(c call) fault {
		switch {
		case c.list && strings.HasSuffix(c.path, "/gitrepositories"):
			return unreachable
		case strings.HasSuffix(c.path, "/gitrepositories/app/status"):
			return dropReply
		}
		return nil
	})
	w.api.cutWatches()
	w.remote.breaks(gone)
	w.untilSource(metav1.ConditionFalse) // stored, and the process has not heard of it
	var asked atomic.Int32
	w.remote.breaks(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.remote.next.ServeHTTP(rw, r)
	})
	w.eventually(func() error { // it has a status again like the one that it heard of last
		if n := asked.Load(); n < 4 {
			return fmt.Errorf("the remote was asked %d times", n)
		}
		return nil
	})
	w.api.on(func(c call) fault {
		if c.list && strings.HasSuffix(c.path, "/gitrepositories") {
			return unreachable
		}
		return nil
	})
	w.untilSource(metav1.ConditionTrue)
}
