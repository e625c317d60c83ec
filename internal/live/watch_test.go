package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

func isWatch(r *http.Request) bool { return r.URL.Query().Get("watch") != "" }

// again waits until the cache has opened n more watches.
func (w *world) again(n int64) {
	w.Helper()
	until := w.watches.Load() + n
	testkit.Eventually(w, patience, func() error {
		if now := w.watches.Load(); now < until {
			return fmt.Errorf("%d watches to go", until-now)
		}
		return nil
	})
}

// synced waits until the kind is trusted, and the objects count as settled.
func (w *world) synced(gvk schema.GroupVersionKind) {
	w.Helper()
	testkit.Eventually(w, patience, func() error { return w.cache.kind(gvk).trouble() })
}

func TestDriftIsSeenAcrossWatchesThatTheServerEnds(t *testing.T) {
	w := begin(t, Options{watchTimeout: time.Second}, configMaps)
	w.apply(w.applier, owner, configMap("a", "1"))
	for i := range 3 {
		w.again(1)
		w.patch("ConfigMap", "a", "someone", fmt.Sprintf(`{"data":{"k":"x%d"}}`, i))
		if got := w.drift(); got != "a by someone" {
			t.Error(got)
		}
		w.apply(w.applier, owner, configMap("a", "1"))
	}
	w.again(1)
	w.synced(configMaps)
	if got, n := w.apply(w.applier, owner, configMap("a", "1")); got != "a unchanged" || n != 0 {
		t.Errorf("%s by %d requests", got, n)
	}
}

// TestFaultsOfTheWatchLoseNoDriftAndInventNone breaks the watch in every way, changes one object meanwhile, and wants that
// drift and no other once the watch is whole again.
func TestFaultsOfTheWatchLoseNoDriftAndInventNone(t *testing.T) {
	status := func(code int, reason metav1.StatusReason) func(http.RoundTripper, *http.Request) (*http.Response, error) {
		return func(_ http.RoundTripper, r *http.Request) (*http.Response, error) {
			body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, reason, code)
			return &http.Response{StatusCode: code, Request: r, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
		}
	}
	for name, fault := range map[string]func(http.RoundTripper, *http.Request) (*http.Response, error){
		"the connection refused": func(http.RoundTripper, *http.Request) (*http.Response, error) {
			return nil, errors.New("connection refused")
		},
		"compacted":         status(http.StatusGone, metav1.StatusReasonExpired),
		"too many requests": status(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests),
		"an internal error": status(http.StatusInternalServerError, metav1.StatusReasonInternalError),
		"no JSON": func(_ http.RoundTripper, r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Request: r, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader("<html>"))}, nil
		},
		"a compaction told in the stream": func(_ http.RoundTripper, r *http.Request) (*http.Response, error) {
			body := `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}}`
			return &http.Response{StatusCode: 200, Request: r, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cut := newCutter()
			w := begin(t, Options{})
			w.wear(cut.carry)
			must(t, w.cache.Ensure(t.Context(), []schema.GroupVersionKind{configMaps}))
			all := docs(configMap("a", "1"), configMap("b", "1"), configMap("c", "1"))
			w.apply(w.applier, owner, all)

			left := 3 // faults before the way is free
			var mu sync.Mutex
			changed := make(chan struct{})
			w.wear(func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
				<-changed
				mu.Lock()
				left--
				broken := left >= 0
				mu.Unlock()
				if broken {
					return fault(next, r)
				}
				return next.RoundTrip(r)
			})
			cut.cut()
			w.patch("ConfigMap", "a", "someone", `{"data":{"k":"x"}}`)
			w.delete("ConfigMap", "b")
			close(changed)
			got := []string{w.drift(), w.drift()}
			if s := strings.Join(got, ", "); s != "a by someone, b gone" && s != "b gone, a by someone" {
				t.Error(s)
			}
			w.synced(configMaps)
			w.apply(w.applier, owner, all)
			if got, n := w.apply(w.applier, owner, all); got != "a unchanged, b unchanged, c unchanged" || n != 0 {
				t.Errorf("%s by %d requests", got, n)
			}
			if d, told := w.cache.drifts.take(); told {
				t.Errorf("told besides: %+v", d)
			}
		})
	}
}

// cutter is a transport that can cut the watches that went through it.
type cutter struct {
	ctx context.Context
	cut context.CancelFunc
}

func newCutter() cutter {
	ctx, cancel := context.WithCancel(context.Background())
	return cutter{ctx, cancel}
}

func (c cutter) carry(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	if !isWatch(r) {
		return next.RoundTrip(r)
	}
	ctx, cancel := context.WithCancel(r.Context())
	context.AfterFunc(c.ctx, cancel)
	return next.RoundTrip(r.WithContext(ctx))
}

func TestAKindThatComesAndGoesIsWatchedAgain(t *testing.T) {
	w := begin(t, Options{}, configMaps)
	env := testkit.Cluster(t)
	kind := "K" + strings.ReplaceAll(w.ns, "-", "")
	plural := strings.ToLower(kind) + "s"
	gvk := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: kind}
	if err := w.cache.Ensure(t.Context(), []schema.GroupVersionKind{configMaps, gvk}); err == nil || !strings.Contains(err.Error(), kind) || strings.Contains(err.Error(), "ConfigMap") {
		t.Errorf("Ensure of a kind that is not served: %v", err)
	}
	crd := `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ` + plural + `.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: ` + kind + `, plural: ` + plural + `}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]`
	one := `{apiVersion: example.com/v1, kind: ` + kind + `, metadata: {name: one, namespace: NS}, spec: {size: 1}}`
	crds := w.objects.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for range 2 {
		testkit.InstallCRDs(t, env, []byte(crd))
		testkit.Eventually(t, patience, func() error { _, _, err := w.try(w.applier, owner, one); return err })
		w.synced(gvk) // started by what the applier told, without an Ensure
		if got, n := w.apply(w.applier, owner, one); got != "one unchanged" || n != 0 {
			t.Errorf("%s by %d requests", got, n)
		}
		must(t, crds.Delete(t.Context(), plural+".example.com", metav1.DeleteOptions{}))
		if got := w.drift(); got != "one gone" {
			t.Error(got)
		}
		testkit.Eventually(t, patience, func() error {
			if err := w.cache.kind(gvk).trouble(); !unserved(err) {
				return fmt.Errorf("trouble: %v", err)
			}
			return nil
		})
		if _, known := w.cache.Verdict(w.olds[owner].Entries()[0].ID); known {
			t.Error("a verdict on an object whose kind is gone")
		}
	}
}

func TestAForbiddenWatchIsToldAtOnceAndNotHammered(t *testing.T) {
	env := testkit.Cluster(t)
	httpClient, err := rest.HTTPClientFor(env.Config)
	must(t, err)
	mapper, err := apiutil.NewDynamicRESTMapper(env.Config, httpClient)
	must(t, err)
	cfg := rest.CopyConfig(env.Config)
	cfg.Impersonate.UserName = "nobody"
	w := &world{T: t}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			w.requests.Add(1)
			return next.RoundTrip(r)
		})
	})
	c, err := New(cfg, mapper, Options{})
	must(t, err)
	go func() { _ = c.Start(t.Context()) }()
	start := time.Now()
	for range 5 {
		if err := c.Ensure(t.Context(), []schema.GroupVersionKind{secrets}); err == nil || !strings.Contains(err.Error(), "forbidden") {
			t.Errorf("err = %v", err)
		}
	}
	if took, n := time.Since(start), w.requests.Load(); took > 5*time.Second || n > 2 {
		t.Errorf("%d requests in %s", n, took)
	}
}

func TestACacheThatIsNotStartedSaysSo(t *testing.T) {
	c, err := New(&rest.Config{}, nil, Options{SyncTimeout: time.Millisecond})
	must(t, err)
	if err := c.Ensure(t.Context(), []schema.GroupVersionKind{secrets}); err == nil {
		t.Error("it says that it watches")
	}
}
