package onboard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/crds"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/githost/gitpush"
	"github.com/sluice-gitops/sluice/internal/onboard"
	"github.com/sluice-gitops/sluice/internal/reconcile"
	"github.com/sluice-gitops/sluice/internal/source"
	"github.com/sluice-gitops/sluice/internal/testkit"
	"github.com/sluice-gitops/sluice/internal/testkit/gitops"
	"github.com/sluice-gitops/sluice/internal/testkit/gitserver"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const folder = "gitops/aks/"

// world is a Git host, a namespace of a real API server, and a controller that runs there as soon as it is started.
type world struct {
	*gitops.Namespace
	t         *testing.T
	env       *testkit.Env
	client    client.Client
	git       *gitserver.Server
	namespace string
	told      bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	env := testkit.Cluster(t)
	testkit.InstallCRDs(t, env, crds.YAML())
	ns := gitops.NewNamespace(t, env, onboard.Scheme())
	c := ns.Client
	// After a test that uninstalled, discovery may still show the definitions that went, while the new ones aren't served.
	testkit.Eventually(t, 30*time.Second, func() error {
		return errors.Join(c.List(t.Context(), &sourcev1.GitRepositoryList{}), c.List(t.Context(), &kustomizev1.KustomizationList{}))
	})
	w := &world{Namespace: ns, t: t, env: env, client: c, git: gitserver.New(t), namespace: ns.Name}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.told.String())
		}
		if err := c.DeleteAllOf(context.Background(), &appsv1.Deployment{}, client.InNamespace(w.namespace)); err != nil {
			t.Error(err) // the next test would find them
		}
	})
	return w
}

// controller runs Sluice for the namespace until the test ends, or stop is called.
func (w *world) controller(edit ...func(*reconcile.Options)) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	o := reconcile.Options{Config: w.env.Config, Namespace: w.namespace, StoragePath: w.t.TempDir(), Concurrent: 2,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	for _, e := range edit {
		e(&o)
	}
	go func() { done <- reconcile.Run(ctx, o) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the controller: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// request is a bootstrap over https, with the credentials in the Secret that the controller will use.
func (w *world) request() *onboard.Request {
	auth := source.Auth{Username: gitserver.User, Password: gitserver.Password, CAFile: w.git.CA}
	return &onboard.Request{
		Client: w.client,
		Remote: gitpush.Remote{URL: w.git.URL, Auth: auth},
		Manifests: bootstrap.Repository{
			Components: bootstrap.Options{Namespace: w.namespace},
			Sync:       bootstrap.SyncOptions{URL: w.git.URL, Path: "./gitops/aks", SecretRef: "flux-system"},
		},
		Commit: gitpush.Change{Message: "Bootstrap\n", AuthorName: "Sluice"},
		Credentials: func(context.Context, map[string][]byte) (map[string][]byte, error) {
			return map[string][]byte{"username": []byte(auth.Username), "password": []byte(auth.Password), "ca.crt": auth.CAFile}, nil
		},
		Patience: time.Second,
		Say:      func(glyph, format string, args ...any) { fmt.Fprintf(&w.told, glyph+" "+format+"\n", args...) },
	}
}

func (w *world) bootstrap(r *onboard.Request) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := onboard.Bootstrap(ctx, r); err != nil {
		w.t.Fatalf("%v\n%s", err, w.told.String())
	}
}

func (w *world) refused(r *onboard.Request, code string, says ...string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	err := onboard.Bootstrap(ctx, r)
	f := fault.From(err)
	if f == nil || f.Code != code {
		w.t.Fatalf("got %v, want %s", err, code)
	}
	for _, s := range says {
		if !strings.Contains(f.Multiline(), s) {
			w.t.Errorf("%q is missing in\n%s", s, f.Multiline())
		}
	}
}

func (w *world) said(lines ...string) {
	w.t.Helper()
	for _, l := range lines {
		if !strings.Contains(w.told.String(), l) {
			w.t.Errorf("%q was not told:\n%s", l, w.told.String())
		}
	}
	if strings.Contains(w.told.String(), gitserver.Password) {
		w.t.Error("the password was told")
	}
}

// ageKey makes a key whose private half the namespace has in Secret sops-age, and returns what seals for it.
func (w *world) ageKey() func(document string) string {
	w.t.Helper()
	return w.AgeKey("sops-age")
}

func (w *world) secret(name string) *corev1.Secret {
	w.t.Helper()
	var s corev1.Secret
	if err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &s); err != nil {
		w.t.Fatal(err)
	}
	return &s
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
