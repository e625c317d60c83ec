package reconcile

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	getsops "github.com/getsops/sops/v3"
	sopsage "github.com/getsops/sops/v3/age"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/crds"
	"github.com/sluice-gitops/sluice/internal/local/githttp"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const canary = "correct-horse-battery-staple"

// world is one namespace of a real API server, one real Git repository, and the controllers between them.
type world struct {
	t         *testing.T
	client    client.Client
	namespace string
	work      string // working copy
	url       string
	log       *lockedBuffer
	stop      func()
	options   Options
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	env := testkit.Cluster(t)
	testkit.InstallCRDs(t, env, crds.YAML())
	c, err := client.New(env.Config, client.Options{Scheme: newScheme()})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, client: c, namespace: testkit.Namespace(t, env), log: &lockedBuffer{}}

	root := t.TempDir()
	if err := githttp.Init(t.Context(), filepath.Join(root, "app.git"), "main"); err != nil {
		t.Fatal(err)
	}
	handler, err := githttp.Handler(root, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	w.url = server.URL + "/app.git"
	w.work = filepath.Join(t.TempDir(), "work")
	w.git("clone", "-q", w.url, w.work)
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
	cmd := exec.Command("git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.com"}, args...)...)
	if _, err := os.Stat(w.work); err == nil && args[0] != "clone" {
		cmd.Dir = w.work
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// push commits files (nil removes one), pushes, asks the source to look, and returns the new revision.
func (w *world) push(files map[string]string) string {
	w.t.Helper()
	for name, content := range files {
		path := filepath.Join(w.work, filepath.FromSlash(name))
		if content == "" {
			w.git("rm", "-q", "--", name)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	w.git("add", "-A")
	w.git("commit", "-q", "--allow-empty", "-m", "change")
	w.git("push", "-q", "origin", "HEAD:main")
	w.poke(&sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}})
	return "main@sha1:" + w.git("rev-parse", "HEAD")
}

// poke asks for a reconcile by annotation, as the CLI and webhooks do.
func (w *world) poke(o client.Object) {
	w.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, time.Now().Format(time.RFC3339Nano))
	err := w.client.Patch(w.t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(patch)))
	if client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
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
	if err := w.client.Create(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
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

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  key: %q\n", name, value)
}

// ageKey creates a decryption Secret with a new age key and returns a function that seals documents for it.
func (w *world) ageKey(secret string) func(document string) string {
	w.t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		w.t.Fatal(err)
	}
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: secret},
		Data:       map[string][]byte{"age.agekey": []byte(id.String())},
	})
	return func(document string) string {
		w.t.Helper()
		key, err := sopsage.MasterKeyFromRecipient(id.Recipient().String())
		if err != nil {
			w.t.Fatal(err)
		}
		sealed, err := sops.Seal(w.t.Context(), []byte(document), sops.YAML, sops.SealOptions{
			EncryptedRegex: "^(data|stringData)$", Recipients: []getsops.KeyGroup{{key}},
		})
		if err != nil {
			w.t.Fatal(err)
		}
		return string(sealed)
	}
}
