package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/crds"
	"github.com/sluice-gitops/sluice/internal/testkit"
	"github.com/sluice-gitops/sluice/internal/testkit/gitops"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const canary = "correct-horse-battery-staple"

// world is one namespace of a real API server, one real Git repository, and the controllers between them.
type world struct {
	t *testing.T
	*gitops.Namespace
	repo      *gitops.Repository
	client    client.Client
	namespace string
	work      string // working copy
	url       string
	log       *lockedBuffer
	stop      func()
	options   Options
}

type lockedBuffer = testkit.Buffer

func newWorld(t *testing.T) *world {
	t.Helper()
	env := testkit.Cluster(t)
	testkit.InstallCRDs(t, env, crds.YAML())
	ns, repo := gitops.NewNamespace(t, env, newScheme()), gitops.NewRepository(t, nil)
	w := &world{
		t: t, Namespace: ns, client: ns.Client, namespace: ns.Name, repo: repo, work: repo.Work, url: repo.URL, log: &lockedBuffer{},
	}
	w.options = Options{
		Config: env.Config, Namespace: w.namespace, StoragePath: t.TempDir(), Concurrent: 2,
		Log: slog.New(slog.NewJSONHandler(w.log, nil)),
	}
	w.start()
	t.Cleanup(func() {
		w.stop()
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
	return w
}

// start runs the controllers until w.stop.
func (w *world) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done, o := make(chan error, 1), w.options
	go func() { done <- Run(ctx, o) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
}

func (w *world) git(args ...string) string {
	w.t.Helper()
	return w.repo.Git(args...)
}

// push commits files (an empty one is removed), pushes, asks the source to look, and returns the new revision.
func (w *world) push(files map[string]string) string {
	w.t.Helper()
	w.repo.Commit(files)
	revision := w.repo.Push()
	w.poke(&sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}})
	return revision
}

// poke asks for a reconcile by annotation, as the CLI and webhooks do.
func (w *world) poke(o client.Object) {
	w.t.Helper()
	w.Poke(o)
}

// source creates the GitRepository that reads the world's repository.
func (w *world) source() {
	w.t.Helper()
	w.create(&sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"},
		Spec: sourcev1.GitRepositorySpec{
			URL: w.url, Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		},
	})
}

// kustomization creates one with the world's source, path "./" + name and prune on, after edit has changed it.
func (w *world) kustomization(name string, edit func(*kustomizev1.KustomizationSpec)) *Kustomization {
	w.t.Helper()
	k := &Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	k.Spec.KustomizationSpec = kustomizev1.KustomizationSpec{
		Interval: metav1.Duration{Duration: time.Hour}, Path: "./" + name, Prune: true, TargetNamespace: w.namespace,
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "app"},
	}
	if edit != nil {
		edit(&k.Spec.KustomizationSpec)
	}
	w.create(k)
	return k
}

func (w *world) create(o client.Object) {
	w.t.Helper()
	w.Create(o)
}

// until waits for a verdict on k's Ready condition and returns the object.
func (w *world) until(k *Kustomization, status metav1.ConditionStatus, text string) *Kustomization {
	w.t.Helper()
	var got Kustomization
	testkit.Eventually(w.t, 30*time.Second, func() error {
		if err := w.client.Get(w.t.Context(), client.ObjectKeyFromObject(k), &got); err != nil {
			return err
		}
		c := apimeta.FindStatusCondition(got.Status.Conditions, "Ready")
		if c == nil || c.Status != status || !strings.Contains(c.Message, text) {
			return fmt.Errorf("Ready is %+v, want %s with %q", c, status, text)
		}
		return nil
	})
	return &got
}

func (w *world) configMap(name string) (*corev1.ConfigMap, error) {
	var cm corev1.ConfigMap
	err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &cm)
	return &cm, err
}

func configMap(name, value string) string { return gitops.ConfigMap(name, value) }

// ageKey creates a decryption Secret with a new age key and returns a function that seals documents for it.
func (w *world) ageKey(secret string) func(document string) string {
	w.t.Helper()
	return w.AgeKey(secret)
}
