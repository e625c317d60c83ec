package live

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/apply"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// patience is how long a test waits for what must come. What must come within a second is measured besides.
const patience = 20 * time.Second

var (
	configMaps  = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	secrets     = schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	deployments = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	resources   = map[string]schema.GroupVersionResource{
		"ConfigMap":  {Version: "v1", Resource: "configmaps"},
		"Secret":     {Version: "v1", Resource: "secrets"},
		"Deployment": {Group: "apps", Version: "v1", Resource: "deployments"},
	}
)

// world is a cache that watches a real API server, and an Applier that knows it.
type world struct {
	*testing.T
	ns       string
	cache    *Cache
	applier  *apply.Applier
	fresh    *apply.Applier // one that knows nothing
	objects  dynamic.Interface
	requests atomic.Int64 // of the applier
	watches  atomic.Int64 // watch requests of the cache

	mu        sync.Mutex
	transport func(next http.RoundTripper, r *http.Request) (*http.Response, error) // of the cache; nil: none
	olds      map[plan.Owner]inventory.Set
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var owner = plan.Owner{Name: "apps", Namespace: "flux-system"}

func begin(t *testing.T, opts Options, kinds ...schema.GroupVersionKind) *world {
	t.Helper()
	env := testkit.Cluster(t)
	w := &world{T: t, ns: testkit.Namespace(t, env), olds: map[plan.Owner]inventory.Set{}}
	httpClient, err := rest.HTTPClientFor(env.Config)
	must(t, err)
	mapper, err := apiutil.NewDynamicRESTMapper(env.Config, httpClient)
	must(t, err)
	w.objects, err = dynamic.NewForConfig(env.Config)
	must(t, err)

	cfg := rest.CopyConfig(env.Config)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Get("watch") != "" {
				w.watches.Add(1)
			}
			w.mu.Lock()
			f := w.transport
			w.mu.Unlock()
			if f != nil {
				return f(next, r)
			}
			return next.RoundTrip(r)
		})
	})
	w.cache, err = New(cfg, mapper, opts)
	must(t, err)

	counted := rest.CopyConfig(env.Config)
	counted.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			w.requests.Add(1)
			return next.RoundTrip(r)
		})
	})
	w.fresh, err = apply.New(counted, apply.Options{Mapper: mapper})
	must(t, err)
	w.applier = w.fresh.Knowing(w.cache)

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.cache.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	must(t, w.cache.Ensure(t.Context(), kinds))
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) wear(f func(http.RoundTripper, *http.Request) (*http.Response, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.transport = f
}

// parse reads YAML documents; NS stands for the test's namespace.
func (w *world) parse(text string) []*unstructured.Unstructured {
	w.Helper()
	var objects []*unstructured.Unstructured
	for doc := range strings.SplitSeq(strings.ReplaceAll(text, "NS", w.ns), "\n---\n") {
		raw, err := yaml.YAMLToJSON([]byte(doc))
		must(w, err)
		u := &unstructured.Unstructured{}
		must(w, u.UnmarshalJSON(raw))
		objects = append(objects, u)
	}
	return objects
}

// apply applies the documents as owner's, pruning, and returns "a created, b unchanged" and the number of requests.
func (w *world) apply(a *apply.Applier, o plan.Owner, text string) (string, int) {
	w.Helper()
	res, requests, err := w.try(a, o, text)
	must(w, err)
	var done []string
	for _, c := range res.Changes {
		done = append(done, c.ID.Name+" "+string(c.Action))
	}
	return strings.Join(done, ", "), requests
}

func (w *world) try(a *apply.Applier, o plan.Owner, text string) (apply.Result, int, error) {
	w.Helper()
	var objects []*unstructured.Unstructured
	if text != "" {
		objects = w.parse(text)
	}
	plan.Own(objects, o.Name, o.Namespace)
	p, err := plan.New(objects, w.olds[o], plan.Options{Owner: o, Prune: true})
	must(w, err)
	before := w.requests.Load()
	res, err := a.Apply(w.Context(), p, func(context.Context, inventory.Set) error { return nil }, nil)
	w.olds[o] = res.Inventory
	return res, int(w.requests.Load() - before), err
}

// patch changes an object as another field manager.
func (w *world) patch(kind, name, manager, body string, sub ...string) {
	w.Helper()
	_, err := w.objects.Resource(resources[kind]).Namespace(w.ns).Patch(w.Context(), name, types.MergePatchType, []byte(body),
		metav1.PatchOptions{FieldManager: manager}, sub...)
	must(w, err)
}

// strategic changes a Deployment by a patch that knows its lists' keys.
func (w *world) strategic(name, manager, body string) {
	w.Helper()
	_, err := w.objects.Resource(resources["Deployment"]).Namespace(w.ns).Patch(w.Context(), name, types.StrategicMergePatchType, []byte(body),
		metav1.PatchOptions{FieldManager: manager})
	must(w, err)
}

func (w *world) delete(kind, name string) {
	w.Helper()
	must(w, w.objects.Resource(resources[kind]).Namespace(w.ns).Delete(w.Context(), name, metav1.DeleteOptions{}))
}

// drift waits for the next drift and says it as "name by manager" or "name gone".
func (w *world) drift() string {
	w.Helper()
	select {
	case d := <-w.cache.Drifts():
		if w.olds[d.Owner].Len() == 0 {
			w.Errorf("drift of %s for %s", d.ID.Display(), d.Owner)
		}
		if d.Deleted {
			return d.ID.Name + " gone"
		}
		return d.ID.Name + " by " + d.Manager
	case <-time.After(patience):
		w.Fatal("no drift was told")
		return ""
	}
}

// quick runs f, which must take less than a second.
func (w *world) quick(what string, f func() string, want string) {
	w.Helper()
	start := time.Now()
	if got := f(); got != want {
		w.Errorf("%s: %q, want %q", what, got, want)
	}
	took := time.Since(start)
	w.Logf("%s told after %s", what, took)
	if took > time.Second {
		w.Errorf("%s took %s", what, took)
	}
}

func configMap(name, value string) string {
	return `{apiVersion: v1, kind: ConfigMap, metadata: {name: ` + name + `, namespace: NS}, data: {k: "` + value + `"}}`
}

func docs(texts ...string) string { return strings.Join(texts, "\n---\n") }
