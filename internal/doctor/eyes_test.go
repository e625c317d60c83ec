package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// without says which hops are not ok.
func (r *Report) without(s State) map[string]State {
	out := r.states()
	for name, state := range out {
		if state == s {
			delete(out, name)
		}
	}
	return out
}

func TestWithoutAnAzureSignInTheAnswersOfEntraNameTheHop(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	o.Azure = nil
	if r := w.examine(o); len(r.without(OK)) > 0 {
		t.Errorf("a healthy chain:\n%s", r.text())
	}
	for _, b := range []struct {
		of   func()
		hop  string
		code string
	}{
		{func() { w.unfederate("flux") }, "federated credential", "SLU-ENTRA-007"},
		{func() {
			w.federation("flux", w.azure.Env().IssuerURL, "system:serviceaccount:x:y", cloud.TokenExchange)
		}, "federated credential", "SLU-ENTRA-004"},
		{func() { w.annotation(clientAnnotation, other); w.renew() }, "managed identity", "SLU-ENTRA-008"},
		{func() { w.annotation(tenantAnnotation, other); w.renew() }, "managed identity", "SLU-ENTRA-030"},
		{func() { w.permissions("get") }, "access", "SLU-VAULT-002"},
	} {
		w.heal()
		b.of()
		r := w.examine(o)
		if h := w.named(r, b.hop); h.Fault.Code != b.code || h.Fault.Fix == "" {
			t.Errorf("%s: %s", b.hop, h.Fault.Multiline())
		}
	}
}

func TestInsideOfTheClusterThePodsOwnTokenIsUsed(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "token")
	o := w.options()
	o.Azure = nil
	o.Pod = &PodEnvironment{ClientID: w.id.ClientID, TenantID: w.id.TenantID, TokenFile: file}
	r := w.examine(o)
	if h := w.named(r, "token"); h.Fault.Code != "SLU-IDENTITY-003" || !h.Remedy.Safe {
		t.Errorf("no token file: %s", h.Fault.Multiline())
	}
	f, err := Gather(t.Context(), w.options())
	w.must(err)
	token, err := requestToken(t.Context(), o, f)
	w.must(err)
	for _, tt := range []struct{ content, hop, code string }{
		{"", "token", "SLU-IDENTITY-004"}, {token[:len(token)/2], "token", "SLU-IDENTITY-004"}, {token + "\n", "", ""},
	} {
		w.must(os.WriteFile(file, []byte(tt.content), 0o600))
		r := w.examine(o)
		switch h := r.Broken(); {
		case tt.hop == "" && len(r.without(OK)) > 0, tt.hop != "" && (h == nil || h.Name != tt.hop || h.Fault.Code != tt.code):
			t.Errorf("want %s %s:\n%s", tt.hop, tt.code, r.text())
		}
		if token != "" && strings.Contains(r.text(), token) {
			t.Error("the report holds the token")
		}
	}
	o.Pod.ClientID = other
	if h := w.named(w.examine(o), "pod"); !strings.Contains(h.Fault.Why, "changed after") {
		t.Errorf("another client: %s", h.Fault.Multiline())
	}
}

func TestWhoMayLessSeesLessAndRaisesNoAlarm(t *testing.T) {
	w := newWorld(t)
	all := []string{"get", "list"}
	user := "nobody-" + w.ns
	rules := []rbacv1.PolicyRule{
		{APIGroups: []string{"kustomize.toolkit.fluxcd.io"}, Resources: []string{"kustomizations"}, Verbs: all},
		{APIGroups: []string{"source.toolkit.fluxcd.io"}, Resources: []string{"gitrepositories"}, Verbs: all},
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "reader"}, Rules: rules}
	w.replace(role)
	w.replace(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "reader"},
		RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: user}}})
	o := w.options()
	o.Azure, o.Client = nil, w.as(testkit.Cluster(t).Config, user)
	look := func() *Report {
		var r *Report
		testkit.Eventually(t, 10*time.Second, func() (err error) { r, err = Examine(t.Context(), o); return err })
		if h := r.Broken(); h != nil {
			t.Errorf("%s is broken for who may not look:\n%s", h.Name, r.text())
		}
		return r
	}
	states := look().states()
	for _, name := range []string{"deployment", "service account", "pod", "token", "federated credential", "exchange", "access", "key", "unwrap", "document"} {
		if states[name] != Unseen {
			t.Errorf("%s is %s", name, states[name])
		}
	}
	role.Rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{"", "apps"}, Resources: []string{"deployments", "serviceaccounts", "pods"}, Verbs: all})
	w.replace(role)
	testkit.Eventually(t, 10*time.Second, func() error {
		r := look()
		for _, name := range []string{"deployment", "service account", "pod"} {
			if h := r.states()[name]; h != OK {
				return &unexpected{name, h}
			}
		}
		for _, h := range r.Hops {
			if h.Name == "token" && (h.State != Unseen || !strings.Contains(h.Seen, "create on serviceaccounts/token in namespace "+w.ns)) {
				t.Errorf("token is %s: %s", h.State, h.Seen)
			}
		}
		return nil
	})
}

type unexpected struct {
	name  string
	state State
}

func (u *unexpected) Error() string { return u.name + " is " + string(u.state) }

func TestFilesSealedForAgeNeedNoAzure(t *testing.T) {
	w := newWorld(t)
	id, err := age.GenerateX25519Identity()
	w.must(err)
	key, err := recipient.ParseAge(id.Recipient().String())
	w.must(err)
	sealed, err := sops.Seal(t.Context(), []byte(secret), sops.YAML, sops.SealOptions{EncryptedRegex: "^stringData$", Recipients: []recipient.Group{{key}}})
	w.must(err)
	w.push(map[string]string{"secret.yaml": string(sealed), "kustomization.yaml": listed})
	if h := w.named(w.examine(w.options()), "sops files"); !strings.Contains(h.Seen, "no key for any of the file's recipients") {
		t.Errorf("without a Secret: %s", h.Fault.Multiline())
	}
	w.replace(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "keys"}, Data: map[string][]byte{"age.agekey": []byte(id.String())}})
	kustomization(func(k *kustomizev1.Kustomization) {
		k.Spec.Decryption.SecretRef = &meta.LocalObjectReference{Name: "keys"}
	})(w)
	r := w.examine(w.options())
	states := r.states()
	if r.Broken() != nil || states["document"] != OK || states["vault"] != Skipped || states["deployment"] != Skipped {
		t.Errorf("\n%s", r.text())
	}
	if strings.Contains(r.text(), "AGE-SECRET") {
		t.Error("the report holds the key")
	}
}

func TestAKustomizationsOwnServiceAccountNeedsNoPod(t *testing.T) {
	w := newWorld(t)
	w.tenant()
	w.remove(w.deployment())
	w.remove(w.pod())
	w.unfederate("flux")
	r := w.examine(w.options())
	left := r.without(OK)
	if len(left) != 2 || left["deployment"] != Skipped || left["pod"] != Skipped {
		t.Errorf("\n%s", r.text())
	}
}

func TestASimulatedNodeRaisesNoAlarm(t *testing.T) {
	w := newWorld(t)
	w.webhook = false
	w.remove(w.pod())
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-" + w.ns, Annotations: map[string]string{simulatedNode: "fake"}}}
	w.replace(node)
	w.settle()
	w.bind(node.Name)
	r := w.examine(w.options())
	if left := r.without(OK); len(left) != 1 || left["pod"] != Unseen {
		t.Errorf("\n%s", r.text())
	}
}
