package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/crds"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// room is a namespace of a real API server, with a client beside the commands under test.
type room struct {
	t          *testing.T
	client     client.WithWatch
	kubeconfig string
	namespace  string
}

func newRoom(t *testing.T) *room {
	t.Helper()
	env := testkit.Cluster(t)
	testkit.InstallCRDs(t, env, crds.YAML())
	c, err := client.NewWithWatch(env.Config, client.Options{Scheme: scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return &room{t, c, env.Kubeconfig, testkit.Namespace(t, env)}
}

// run runs a command line in the room.
func (r *room) run(args ...string) (out, errs string, code int) {
	r.t.Helper()
	var o, e lockedBuffer
	code = Run(r.t.Context(), append(args, "--kubeconfig", r.kubeconfig, "-n", r.namespace), r.streams(&o, &e))
	return o.String(), e.String(), code
}

func (r *room) streams(out, errs *lockedBuffer) Streams {
	return Streams{Out: out, Err: errs, Env: func(string) string { return "" }}
}

// generic hides what differs from run to run.
func (r *room) generic(text string) string { return strings.ReplaceAll(text, r.namespace, "NAMESPACE") }

func (r *room) kustomization(name string, edit func(*kustomizev1.Kustomization)) *kustomizev1.Kustomization {
	r.t.Helper()
	k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: name}}
	k.Spec = kustomizev1.KustomizationSpec{
		Interval: metav1.Duration{Duration: time.Hour}, Path: "./" + name, Prune: true,
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "app"},
	}
	if edit != nil {
		edit(k)
	}
	status := k.Status
	if err := r.client.Create(r.t.Context(), k); err != nil {
		r.t.Fatal(err)
	}
	k.Status = status
	r.status(k)
	return k
}

func (r *room) repository(name string, edit func(*sourcev1.GitRepository)) *sourcev1.GitRepository {
	r.t.Helper()
	g := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: name}}
	g.Spec = sourcev1.GitRepositorySpec{URL: "https://git.example.com/app", Interval: metav1.Duration{Duration: time.Hour}}
	if edit != nil {
		edit(g)
	}
	status := g.Status
	if err := r.client.Create(r.t.Context(), g); err != nil {
		r.t.Fatal(err)
	}
	g.Status = status
	r.status(g)
	return g
}

// status writes an object's status, as its controller would.
func (r *room) status(o client.Object) {
	r.t.Helper()
	switch o := o.(type) {
	case *kustomizev1.Kustomization:
		stamp(o.Status.Conditions)
	case *sourcev1.GitRepository:
		stamp(o.Status.Conditions)
	}
	if err := r.client.Status().Update(r.t.Context(), o); err != nil {
		r.t.Fatal(err)
	}
}

func stamp(conditions []metav1.Condition) {
	for i := range conditions {
		conditions[i].LastTransitionTime = metav1.Now()
	}
}

// controller answers reconcile requests of the room's objects as a controller would, until the test ends.
func (r *room) controller(status metav1.ConditionStatus, message string) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	r.t.Cleanup(func() { cancel(); wg.Wait() })
	list := &kustomizev1.KustomizationList{}
	w, err := r.client.Watch(ctx, list, client.InNamespace(r.namespace))
	if err != nil {
		r.t.Fatal(err)
	}
	wg.Go(func() {
		defer w.Stop()
		for e := range w.ResultChan() {
			k, ok := e.Object.(*kustomizev1.Kustomization)
			if !ok {
				continue
			}
			asked, _ := meta.ReconcileAnnotationValue(k.Annotations)
			if k.Spec.Suspend || asked == "" || asked == k.Status.LastHandledReconcileAt {
				continue
			}
			k.Status.LastHandledReconcileAt, k.Status.LastAppliedRevision = asked, "main@sha1:"+hash
			k.Status.Conditions = condition(status, message)
			stamp(k.Status.Conditions)
			_ = r.client.Status().Update(ctx, k) // a conflict comes back as another event
		}
	})
}

type lockedBuffer = testkit.Buffer

// door is a proxy before the API server whose connections can be cut.
func (r *room) door() *httptest.Server {
	r.t.Helper()
	cfg := testkit.Cluster(r.t).Config
	host := cfg.Host
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	target, err := url.Parse(host)
	if err != nil {
		r.t.Fatal(err)
	}
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport, proxy.FlushInterval = transport, -1
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	s := httptest.NewServer(proxy)
	r.t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	file := filepath.Join(r.t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: x}}], clusters: [{name: x, cluster: {server: %q}}]}`, s.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.kubeconfig = file
	return s
}

// background runs a command until the test ends it.
func (r *room) background(args ...string) (out, errs *lockedBuffer, end func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	out, errs = &lockedBuffer{}, &lockedBuffer{}
	done := make(chan int, 1)
	go func() {
		done <- Run(ctx, append(args, "--kubeconfig", r.kubeconfig, "-n", r.namespace), r.streams(out, errs))
	}()
	end = sync.OnceValue(func() int { cancel(); return <-done })
	r.t.Cleanup(func() { end() })
	return out, errs, end
}
