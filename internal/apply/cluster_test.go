package apply

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// bench is one test's namespace and the Applier that works in it.
type bench struct {
	t      *testing.T
	ns     string
	kube   *kubernetes.Clientset
	apply  *Applier
	count  *counter
	owner  plan.Owner
	old    inventory.Set
	saves  []inventory.Set
	told   []string
	redact Redactor
}

func setUp(t *testing.T) *bench {
	t.Helper()
	cfg := testkit.Cluster(t).Config
	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, kube: kube, count: &counter{}, owner: plan.Owner{Name: "apps", Namespace: "flux-system"}}
	ns, err := kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.ns = ns.Name
	b.apply = b.as(cfg)
	return b
}

// as returns an Applier that speaks with cfg, and counts its requests in b.count.
func (b *bench) as(cfg *rest.Config) *Applier {
	b.t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			b.count.add(r)
			return next.RoundTrip(r)
		})
	})
	a, err := New(cfg, Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// objects parses YAML documents; NS stands for the test's namespace.
func (b *bench) objects(text string) []*unstructured.Unstructured {
	b.t.Helper()
	var objects []*unstructured.Unstructured
	for _, doc := range strings.Split(strings.ReplaceAll(text, "NS", b.ns), "\n---\n") {
		raw, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			b.t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(raw); err != nil {
			b.t.Fatal(err)
		}
		objects = append(objects, u)
	}
	return objects
}

// run applies the documents, pruning, and makes the result's inventory the next run's old one.
func (b *bench) run(text string, opts ...func(*plan.Options)) (Result, error) {
	b.t.Helper()
	var objects []*unstructured.Unstructured
	if text != "" {
		objects = b.objects(text)
	}
	plan.Own(objects, b.owner.Name, b.owner.Namespace)
	o := plan.Options{Owner: b.owner, Prune: true}
	for _, f := range opts {
		f(&o)
	}
	p, err := plan.New(objects, b.old, o)
	if err != nil {
		b.t.Fatal(err)
	}
	a := b.apply
	if b.redact != nil {
		a = a.Redacting(b.redact)
	}
	b.count.reset()
	b.told = nil
	res, err := a.Apply(b.t.Context(), p, func(_ context.Context, s inventory.Set) error {
		b.saves = append(b.saves, s)
		return nil
	}, func(c plan.Change, err error) {
		line := c.String()
		if err != nil {
			line = c.ID.Display() + " failed"
		}
		b.told = append(b.told, line)
	})
	b.old = res.Inventory
	return res, err
}

// must is run without an error.
func (b *bench) must(text string, opts ...func(*plan.Options)) Result {
	b.t.Helper()
	res, err := b.run(text, opts...)
	if err != nil {
		b.t.Fatal(err)
	}
	return res
}

// actions gives "ConfigMap/a created" for every change of a result.
func actions(res Result) string {
	var lines []string
	for _, c := range res.Changes {
		lines = append(lines, c.ID.Kind+"/"+c.ID.Name+" "+string(c.Action))
	}
	return strings.Join(lines, ", ")
}

func force(o *plan.Options)   { o.Force = true }
func noPrune(o *plan.Options) { o.Prune = false }

// counter counts requests, discovery left out: that is asked once per process.
type counter struct {
	mu       sync.Mutex
	requests []string
}

func (c *counter) add(r *http.Request) {
	path := r.URL.Path
	if path == "/api" || path == "/apis" || r.Method == http.MethodGet && strings.Count(strings.Trim(path, "/"), "/") <= 2 && !strings.Contains(path, "namespaces/") {
		return
	}
	verb := r.Method
	if r.URL.Query().Get("dryRun") != "" {
		verb = "DRYRUN"
	} else if r.Header.Get("Content-Type") == "application/json-patch+json" {
		verb = "JSONPATCH"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, verb)
}

func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = nil
}

func (c *counter) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.requests, " ")
}

// eventually tries until it holds.
func eventually(t *testing.T, f func() bool) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, func() error {
		if !f() {
			return errors.New("it never came true")
		}
		return nil
	})
}

func (b *bench) objectID(text string) inventory.ID { return inventory.IDOf(b.objects(text)[0]) }
