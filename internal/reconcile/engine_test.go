package reconcile

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// requests counts what the controllers ask of the API server, watches aside.
type requests struct {
	mu   sync.Mutex
	seen []string
}

func (r *requests) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.URL.Query().Get("watch") == "" {
			r.mu.Lock()
			r.seen = append(r.seen, req.Method+" "+req.URL.Path)
			r.mu.Unlock()
		}
		return next.RoundTrip(req)
	})
}

// since returns the requests that pass keep, and starts over.
func (r *requests) since(keep func(string) bool) (kept []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seen {
		if keep(s) {
			kept = append(kept, s)
		}
	}
	r.seen = nil
	return kept
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// counted is a world whose controllers' requests are counted.
func counted(t *testing.T) (*world, *requests) {
	w, r := newWorld(t), &requests{}
	w.options.Config = rest.CopyConfig(w.options.Config)
	w.options.Config.Wrap(r.wrap)
	w.stop()
	w.start()
	return w, r
}

// settledIn waits until the watches vouch for everything that k owns, which a reconcile without any request shows.
func (w *world) settledIn(k *Kustomization, r *requests) {
	w.t.Helper()
	testkit.Eventually(w.t, 30*time.Second, func() error {
		r.since(func(string) bool { return false })
		w.reconcile(k)
		if asked := r.since(func(s string) bool { return strings.Contains(s, "/configmaps/") }); len(asked) > 0 {
			return fmt.Errorf("it still asks: %v", asked)
		}
		return nil
	})
}

// reconcile asks for one and waits until it is done.
func (w *world) reconcile(k *Kustomization) {
	w.t.Helper()
	w.poke(k)
	var got Kustomization
	testkit.Eventually(w.t, 30*time.Second, func() error {
		if err := w.client.Get(w.t.Context(), client.ObjectKeyFromObject(k), &got); err != nil {
			return err
		}
		if at := got.Annotations["reconcile.fluxcd.io/requestedAt"]; got.Status.LastHandledReconcileAt != at {
			return fmt.Errorf("lastHandledReconcileAt = %s, want %s", got.Status.LastHandledReconcileAt, at)
		}
		return nil
	})
}

func TestAReconcileOfWhatStandsCostsOnlyItsStatus(t *testing.T) {
	w, r := counted(t)
	files := map[string]string{}
	for i := range 10 {
		files[fmt.Sprintf("a/cm%d.yaml", i)] = configMap(fmt.Sprintf("cm%d", i), "1")
	}
	w.push(files)
	w.source()
	k := w.kustomization("a", nil)
	w.until(k, "True", "Applied")
	w.settledIn(k, r)
	r.since(func(string) bool { return false })
	w.reconcile(k)
	asked := r.since(func(s string) bool { return !strings.Contains(s, "/events") && !strings.Contains(s, "/leases") })
	if len(asked) != 1 || !strings.HasSuffix(asked[0], "/kustomizations/a/status") {
		t.Errorf("requests = %v, want one status write", asked)
	}
}

func TestDriftIsPutRightWhenItHappens(t *testing.T) {
	w, r := counted(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "1"), "a/two.yaml": configMap("two", "2")})
	w.source()
	k := w.kustomization("a", nil) // its interval is an hour
	w.until(k, "True", "Applied")
	w.settledIn(k, r)

	one := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "one"}}
	if err := w.client.Patch(t.Context(), one, client.RawPatch(types.MergePatchType, []byte(`{"data":{"key":"by hand","other":"mine"}}`)),
		client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		cm, err := w.configMap("one")
		if err != nil || cm.Data["key"] != "1" {
			return fmt.Errorf("data = %v, %v", cm.Data, err)
		}
		if cm.Data["other"] != "mine" {
			t.Errorf("a field of another manager is gone: %v", cm.Data)
		}
		return nil
	})
	if err := w.client.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "two"}}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error { _, err := w.configMap("two"); return err })
	w.until(k, "True", "Applied")

	// Nothing that the controllers do themselves counts as drift.
	w.push(map[string]string{"a/one.yaml": configMap("one", "new"), "a/two.yaml": ""})
	testkit.Eventually(t, 20*time.Second, func() error {
		if _, err := w.configMap("two"); !apierrors.IsNotFound(err) {
			return fmt.Errorf("two: %v", err)
		}
		return nil
	})
	w.settledIn(k, r)
	if n := strings.Count(w.log.String(), `"msg":"drift"`); n != 2 {
		t.Errorf("%d drifts were seen, want the 2 that there were", n)
	}
}

func TestAFightIsFoughtSlowlyAndNamesTheOther(t *testing.T) {
	w, r := counted(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	w.source()
	k := w.kustomization("a", nil)
	w.until(k, "True", "Applied")
	w.settledIn(k, r)

	// Another controller that writes its value whenever it sees ours.
	ctx, stop := context.WithCancel(t.Context())
	var rival sync.WaitGroup
	rival.Go(func() {
		for ctx.Err() == nil {
			if cm, err := w.configMap("one"); err == nil && cm.Data["key"] == "1" {
				_ = w.client.Patch(ctx, cm, client.RawPatch(types.MergePatchType, []byte(`{"data":{"key":"rival"}}`)), client.FieldOwner("rival"))
			}
		}
	})
	testkit.Eventually(t, 30*time.Second, func() error {
		var events corev1.EventList
		if err := w.client.List(t.Context(), &events, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == "DriftFight" && strings.Contains(e.Message, "rival") && strings.Contains(e.Message, "ConfigMap/") {
				return nil
			}
		}
		return fmt.Errorf("no event names the rival among %d", len(events.Items))
	})
	stop()
	rival.Wait()
	if n := strings.Count(w.log.String(), `"msg":"drift"`); n > driftFight+3 {
		t.Errorf("%d corrections before it slowed down", n)
	}
}

func TestDriftIsPacedByItsOwnHistory(t *testing.T) {
	d, now := newDrifts(), time.Unix(0, 0)
	d.now = func() time.Time { return now }
	a, b := types.NamespacedName{Name: "a"}, types.NamespacedName{Name: "b"}
	for i := range driftFight {
		if wait, fight := d.pace(a); wait != 0 || fight {
			t.Errorf("drift %d waits %s (fight %v)", i+1, wait, fight)
		}
		now = now.Add(time.Second)
	}
	for _, want := range []time.Duration{10, 20, 40} {
		wait, fight := d.pace(a)
		if wait != want*time.Second || !fight {
			t.Errorf("wait = %s, want %ds (fight %v)", wait, want, fight)
		}
		if again, fight := d.pace(a); again != wait || fight {
			t.Errorf("a drift while an answer is due waits %s and is told again: %v", again, fight)
		}
		now = now.Add(wait)
	}
	if wait, _ := d.pace(b); wait != 0 {
		t.Errorf("a's fight slows b by %s", wait)
	}
	now = now.Add(time.Hour)
	if wait, fight := d.pace(a); wait != 0 || fight {
		t.Errorf("after an hour of peace a waits %s", wait)
	}
}

func TestTheSafetyNetAsksAboutEverything(t *testing.T) {
	w, r := counted(t)
	w.options.VerifyInterval = time.Second
	w.stop()
	w.start()
	w.push(map[string]string{"a/one.yaml": configMap("one", "1"), "a/two.yaml": configMap("two", "2")})
	w.source()
	k := w.kustomization("a", nil)
	w.until(k, "True", "Applied")
	testkit.Eventually(t, 30*time.Second, func() error {
		r.since(func(string) bool { return false })
		w.reconcile(k)
		asked := r.since(func(s string) bool { return strings.HasPrefix(s, "PATCH ") && strings.Contains(s, "/configmaps/") })
		if len(asked) != 2 {
			return fmt.Errorf("it asked %v, want a dry-run of both objects", asked)
		}
		return nil
	})
}

func TestAReconcileThatIsAskedForMissesKeysThatAreGone(t *testing.T) {
	w, r := counted(t)
	seal := w.ageKey("keys")
	w.push(map[string]string{"a/db.yaml": seal("apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n  password: " + canary + "\n")})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
	})
	w.until(k, "True", "Applied")
	w.settledIn(k, r)
	if err := w.client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "keys"}}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		w.reconcile(k)
		var got Kustomization
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(k), &got); err != nil {
			return err
		}
		if !strings.Contains(readyMessage(&got), "keyring") {
			return fmt.Errorf("Ready: %s", readyMessage(&got))
		}
		return nil
	})
	var s corev1.Secret
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "db"}, &s); err != nil {
		t.Errorf("the last good state is gone: %v", err)
	}
}

func TestAnIntervalThatPassesWritesNothing(t *testing.T) {
	w, r := counted(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "1"), "clock/two.yaml": configMap("two", "${tick}")})
	w.source()
	second := func(s *kustomizev1.KustomizationSpec) { s.Interval = metav1.Duration{Duration: time.Second} }
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) { second(s); s.Wait = true })
	// A Kustomization with the same interval that reads a ConfigMap each time shows that intervals pass.
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "vars"}, Data: map[string]string{"tick": "x"}})
	clock := w.kustomization("clock", func(s *kustomizev1.KustomizationSpec) {
		second(s)
		s.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "ConfigMap", Name: "vars"}}}
	})
	w.until(k, "True", "Applied")
	w.until(clock, "True", "Applied")
	w.settledIn(k, r)
	var mine, ticks []string
	testkit.Eventually(t, 30*time.Second, func() error {
		for _, s := range r.since(func(s string) bool { return !strings.Contains(s, "/events") && !strings.Contains(s, "/leases") }) {
			if strings.HasSuffix(s, "/configmaps/vars") {
				ticks = append(ticks, s)
			} else {
				mine = append(mine, s)
			}
		}
		if len(ticks) < 3 {
			mine = nil // the watches may just begin to vouch for the clock's own object
		}
		if len(ticks) < 6 {
			return fmt.Errorf("%d intervals have passed", len(ticks))
		}
		return nil
	})
	if len(mine) > 0 {
		t.Errorf("while %d intervals passed, there were requests: %v", len(ticks), mine)
	}
}
