package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/crds"
	"github.com/sluice-gitops/sluice/internal/testkit"
	"github.com/sluice-gitops/sluice/internal/testkit/gitops"
)

// patience is how long anything may take on a busy machine before it counts as never.
const patience = 90 * time.Second

var scheme = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(sourcev1.AddToScheme(s))
	utilruntime.Must(kustomizev1.AddToScheme(s))
	return s
})

// world is a namespace of a real API server, a Git repository, the controllers' process, and a proxy before the server
// and the remote each. The test itself goes around the proxies.
type world struct {
	*process
	*gitops.Namespace
	t         *testing.T
	env       *testkit.Env
	client    client.Client
	namespace string
	api       *proxy
	remote    *remote
	repo      *gitops.Repository
	url       string
	rev       string                       // pushed last
	sealer    func(document string) string // for the world's age key; nil until it is asked for
}

var definitions sync.Once

// newWorld makes a world without a process; start begins one.
func newWorld(t *testing.T) *world {
	t.Helper()
	env := testkit.Cluster(t)
	definitions.Do(func() { testkit.InstallCRDs(t, env, crds.YAML()) })
	return worldOn(t, env)
}

func worldOn(t *testing.T, env *testkit.Env) *world {
	t.Helper()
	ns := gitops.NewNamespace(t, env, scheme())
	w := &world{Namespace: ns, t: t, env: env, client: ns.Client, namespace: ns.Name, api: newProxy(t, env.Config, ns.Name)}
	w.repo = gitops.NewRepository(t, func(next http.Handler) http.Handler {
		w.remote = &remote{next: next}
		return w.remote
	})
	w.url = w.repo.URL
	w.process = newProcess(t, childOptions{Host: w.api.URL, Namespace: w.namespace, Storage: t.TempDir()})
	return w
}

func (w *world) git(args ...string) string {
	w.t.Helper()
	return w.repo.Git(args...)
}

func (w *world) commit(files map[string]string) {
	w.t.Helper()
	w.repo.Commit(files)
}

// publish makes the working copy's state the remote's main, by force if need be, and asks the source to look.
func (w *world) publish() {
	w.t.Helper()
	w.rev = w.repo.Push()
	w.poke(w.repository())
}

// push is commit and publish.
func (w *world) push(files map[string]string) {
	w.t.Helper()
	w.commit(files)
	w.publish()
}

func (w *world) repository() *sourcev1.GitRepository {
	return &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}}
}

func (w *world) poke(o client.Object) string {
	w.t.Helper()
	return w.Poke(o)
}

func (w *world) create(o client.Object) {
	w.t.Helper()
	w.Create(o)
}

// source creates the GitRepository.
func (w *world) source() {
	w.t.Helper()
	o := w.repository()
	o.Spec = sourcev1.GitRepositorySpec{
		URL: w.url, Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		Timeout: &metav1.Duration{Duration: 20 * time.Second},
	}
	w.create(o)
}

// kustomization creates one whose path is its name and that tries again soon when it fails.
func (w *world) kustomization(name string, edit func(*kustomizev1.KustomizationSpec)) *kustomizev1.Kustomization {
	w.t.Helper()
	k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	k.Spec = kustomizev1.KustomizationSpec{
		Interval: metav1.Duration{Duration: time.Hour}, RetryInterval: &metav1.Duration{Duration: 250 * time.Millisecond},
		Path: "./" + name, Prune: true, TargetNamespace: w.namespace,
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "app"},
	}
	if edit != nil {
		edit(&k.Spec)
	}
	w.create(k)
	return k
}

// sealed lets a Kustomization decrypt with the world's key.
func sealed(s *kustomizev1.KustomizationSpec) {
	s.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
}

// seal encrypts a document for the world's age key, which it makes at first.
func (w *world) seal(document string) string {
	w.t.Helper()
	if w.sealer == nil {
		w.sealer = w.AgeKey("keys")
	}
	return w.sealer(document)
}

// eventually waits for check, and fails at once when the process has ended by itself.
func (w *world) eventually(check func() error) {
	w.t.Helper()
	testkit.Eventually(w.t, patience, func() error {
		if w.dead() {
			w.t.Fatal("the controllers have ended by themselves")
		}
		return check()
	})
}

func (w *world) get(name string) (*kustomizev1.Kustomization, error) {
	var k kustomizev1.Kustomization
	err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &k)
	return &k, err
}

// until waits for a verdict of Kustomization name with all the texts in its message.
func (w *world) until(name string, status metav1.ConditionStatus, texts ...string) {
	w.t.Helper()
	w.eventually(func() error {
		k, err := w.get(name)
		if err != nil {
			return err
		}
		return holds(k.Status.Conditions, status, texts)
	})
}

// untilSource does so for the GitRepository.
func (w *world) untilSource(status metav1.ConditionStatus, texts ...string) {
	w.t.Helper()
	w.eventually(func() error {
		o := w.repository()
		if err := w.client.Get(w.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		return holds(o.Status.Conditions, status, texts)
	})
}

func holds(list []metav1.Condition, status metav1.ConditionStatus, texts []string) error {
	c := apimeta.FindStatusCondition(list, meta.ReadyCondition)
	if c == nil || c.Status != status {
		return fmt.Errorf("Ready is %+v, want %s", c, status)
	}
	for _, text := range texts {
		if !strings.Contains(c.Message, text) && c.Reason != text {
			return fmt.Errorf("Ready is %+v, want %q in it", c, text)
		}
	}
	return nil
}

// applied waits until each Kustomization is Ready at the revision pushed last.
func (w *world) applied(names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.eventually(func() error {
			k, err := w.get(name)
			if err != nil {
				return err
			}
			if k.Status.LastAppliedRevision != w.rev || k.Status.ObservedGeneration != k.Generation {
				return fmt.Errorf("%s has applied %s, want %s: %s", name, k.Status.LastAppliedRevision, w.rev, brief(k.Status))
			}
			return holds(k.Status.Conditions, metav1.ConditionTrue, nil)
		})
	}
}

func brief(v any) string {
	text, _ := json.Marshal(v)
	return string(text[:min(len(text), 1500)])
}

// value returns data.key of a ConfigMap of the world's namespace; an error when it is not there.
func (w *world) value(name string) (string, error) {
	var cm corev1.ConfigMap
	err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &cm)
	return cm.Data["key"], err
}

// hasValue waits for it.
func (w *world) hasValue(name, want string) {
	w.t.Helper()
	w.eventually(func() error {
		if got, err := w.value(name); err != nil || got != want {
			return errors.Join(fmt.Errorf("%s is %q, want %q", name, got, want), err)
		}
		return nil
	})
}

func configMap(name, value string) string { return gitops.ConfigMap(name, value) }

func inNamespace(name string) client.ListOption { return client.InNamespace(name) }

func configMapObject(namespace, name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}
