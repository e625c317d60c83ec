package reconcile

import (
	"fmt"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// Five hundred sealed Secrets, each with a data key of its own, cost the vault one request each, once: nothing at the
// next reconcile, and nothing when the Kustomization is deleted and made again.
func TestFiveHundredSealedSecretsAreUnwrappedOnce(t *testing.T) {
	w := newWorld(t)
	a := withAzure(t, w)
	seal := a.vault("cost-vault", a.account("tenant").PrincipalID)
	const n = 500
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("a/s%d.yaml", i)] = seal(fmt.Sprintf("s%d", i))
	}
	w.push(files)
	w.source()
	begin := func() *Kustomization {
		return w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
			s.Decryption, s.Prune = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "tenant"}, false
		})
	}
	spent := func(do func()) (challenges, unwraps int) {
		before := a.Requests()
		do()
		after := a.Requests()
		return after["keyvault/challenge"] - before["keyvault/challenge"], after["keyvault/decrypt"] - before["keyvault/decrypt"]
	}
	var k *Kustomization
	if challenges, unwraps := spent(func() { k = begin(); w.until(k, "True", "Applied") }); challenges != 1 || unwraps != n {
		t.Errorf("the first reconcile cost %d challenges and %d unwraps, want 1 and %d", challenges, unwraps, n)
	}
	if challenges, unwraps := spent(func() {
		w.push(map[string]string{"a/more.yaml": configMap("more", "1")})
		w.until(k, "True", w.git("rev-parse", "HEAD"))
	}); challenges+unwraps != 0 {
		t.Errorf("the second reconcile cost %d challenges and %d unwraps, want none", challenges, unwraps)
	}
	if challenges, unwraps := spent(func() {
		if err := w.client.Delete(t.Context(), k); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		w.gone(k)
		w.until(begin(), "True", "Applied")
	}); challenges+unwraps != 0 {
		t.Errorf("the Kustomization made again cost %d challenges and %d unwraps, want none", challenges, unwraps)
	}
}

// gone waits until the API server has forgotten an object.
func (w *world) gone(o client.Object) {
	w.t.Helper()
	testkit.Eventually(w.t, 30*time.Second, func() error {
		if err := w.client.Get(w.t.Context(), client.ObjectKeyFromObject(o), &Kustomization{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is still there: %v", err)
		}
		return nil
	})
}
