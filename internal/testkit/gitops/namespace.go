// Package gitops gives tests the two ends of GitOps: a Git repository behind the local platform's server, with a working
// copy to commit in, and a namespace of a real API server with a client and keys to seal for.
//
// It refuses to stand for anything between them: which controllers run there, and on which objects, is the test's matter.
// Servers of other hosts' ways (TLS, SSH, hooks) are gitserver's. Only tests import it.
package gitops

import (
	"fmt"
	"testing"
	"time"

	"filippo.io/age"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// Namespace is one test's own of an API server.
type Namespace struct {
	Name   string
	Env    *testkit.Env
	Client client.Client // an administrator's, without a cache

	t testing.TB
}

// NewNamespace makes one and a client that knows scheme's types. Definitions are the caller's to install before, for
// the client looks them up.
func NewNamespace(t testing.TB, env *testkit.Env, scheme *runtime.Scheme) *Namespace {
	t.Helper()
	c, err := client.New(env.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return &Namespace{Name: testkit.Namespace(t, env), Env: env, Client: c, t: t}
}

// Create creates an object.
func (n *Namespace) Create(o client.Object) {
	n.t.Helper()
	if err := n.Client.Create(n.t.Context(), o); err != nil {
		n.t.Fatal(err)
	}
}

// Poke asks for a reconcile by annotation, as the CLI and webhooks do, and returns what it wrote there. An object that
// isn't there is left alone.
func (n *Namespace) Poke(o client.Object) (requestedAt string) {
	n.t.Helper()
	at := time.Now().Format(time.RFC3339Nano)
	err := n.Client.Patch(n.t.Context(), o, client.RawPatch("application/merge-patch+json",
		fmt.Appendf(nil, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, at)))
	if client.IgnoreNotFound(err) != nil {
		n.t.Fatal(err)
	}
	return at
}

// AgeKey creates a decryption Secret with a new age key and returns a function that seals YAML documents for it.
func (n *Namespace) AgeKey(secret string) (seal func(document string) string) {
	n.t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		n.t.Fatal(err)
	}
	n.Create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: n.Name, Name: secret},
		Data:       map[string][]byte{"age.agekey": []byte(id.String())},
	})
	return func(document string) string {
		n.t.Helper()
		key, err := recipient.ParseAge(id.Recipient().String())
		if err != nil {
			n.t.Fatal(err)
		}
		sealed, err := sops.Seal(n.t.Context(), []byte(document), sops.YAML, sops.SealOptions{
			EncryptedRegex: "^(data|stringData)$", Recipients: []recipient.Group{{key}},
		})
		if err != nil {
			n.t.Fatal(err)
		}
		return string(sealed)
	}
}

// ConfigMap is the manifest of one with data.key.
func ConfigMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  key: %q\n", name, value)
}
