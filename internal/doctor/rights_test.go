package doctor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// rights are all that docs/doctor.md says the doctor needs in the cluster, each with the hop that it sees by it.
var rights = []struct{ verb, group, resource, hop string }{
	{"get", "kustomize.toolkit.fluxcd.io", "kustomizations", ""}, // without it there is nothing to walk
	{"get", "source.toolkit.fluxcd.io", "gitrepositories", "source"},
	{"get", "", "secrets", "source"},
	{"get", "apps", "deployments", "deployment"},
	{"list", "", "pods", "pod"},
	{"get", "", "serviceaccounts", "service account"},
	{"create", "", "serviceaccounts/token", "token"},
}

// A real API server decides: with these rights and none beside them everything is seen; without one of them the hop says
// which, and nothing is called broken that only cannot be seen.
func TestTheDocumentedRightsSeeEverythingAndEachIsMissedByName(t *testing.T) {
	w := newWorld(t)
	key, err := age.GenerateX25519Identity()
	w.must(err)
	w.replace(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "keys"}, Data: map[string][]byte{"age.agekey": []byte(key.String())}})
	w.replace(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "git"}, Data: map[string][]byte{"username": []byte("ada"), "password": []byte("p")}})
	kustomization(func(k *kustomizev1.Kustomization) {
		k.Spec.Decryption.SecretRef = &meta.LocalObjectReference{Name: "keys"}
	})(w)
	git(func(r *sourcev1.GitRepository) { r.Spec.SecretRef = &meta.LocalObjectReference{Name: "git"} })(w)
	user := "exact-" + w.ns
	grant := func(without string) {
		role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "exact"}}
		for _, r := range rights {
			if r.resource != without {
				role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{r.group}, Resources: []string{r.resource}, Verbs: []string{r.verb}})
			}
		}
		w.replace(role)
	}
	w.replace(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "exact"},
		RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "exact"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: user}}})
	o := w.options()
	o.Client = w.as(testkit.Cluster(t).Config, user)
	grant("")
	testkit.Eventually(t, 20*time.Second, func() error {
		r, err := Examine(t.Context(), o)
		if err != nil {
			return err
		}
		if left := r.without(OK); len(left) > 0 {
			return fmt.Errorf("%v\n%s", left, r.text())
		}
		return nil
	})
	for _, missing := range rights {
		if !strings.Contains(preface, missing.verb+" on "+missing.resource) {
			t.Errorf("docs/doctor.md does not ask for %s on %s", missing.verb, missing.resource)
		}
		grant(missing.resource)
		needs := missing.verb + " on " + missing.resource + " in namespace " + w.ns
		testkit.Eventually(t, 20*time.Second, func() error {
			r, err := Examine(t.Context(), o)
			if missing.hop == "" {
				if !apierrors.IsForbidden(err) {
					return fmt.Errorf("without %s: %v", needs, err)
				}
				return nil
			}
			if err != nil {
				return err
			}
			i := slices.IndexFunc(r.Hops, func(h Hop) bool { return h.Name == missing.hop })
			if h := r.Hops[i]; h.State != Unseen || !strings.Contains(h.Seen, needs) {
				return fmt.Errorf("without %s the hop %s is %s: %s", needs, h.Name, h.State, h.Seen)
			}
			if h := r.Broken(); h != nil {
				return fmt.Errorf("without %s the hop %s is broken: %s", needs, h.Name, h.Fault.Multiline())
			}
			return nil
		})
	}
}
