package reconcile

import (
	"bytes"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/emulator"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/testkit"
	"github.com/sluice-gitops/sluice/internal/testkit/azureserver"
)

const azureGroup = "tenants"

// azure is an emulated Azure that trusts the ServiceAccounts of a world.
type azure struct {
	*azureserver.Server
	t      *testing.T
	w      *world
	dev    azcore.TokenCredential
	arm    *arm.Client
	issuer *azureserver.Issuer
}

// withAzure starts the world's controllers anew beside an Azure. The test's API server has an issuer of its own; its
// tokens are signed again as AKS's issuer would sign them, with their subject and audience.
func withAzure(t *testing.T, w *world) *azure {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	e := azureserver.New(t, emulator.Options{})
	t.Cleanup(func() { w.stop() }) // before the emulator ends
	a := &azure{Server: e, t: t, w: w, issuer: e.Issuer(t)}
	env := e.Env()
	var err error
	a.dev, err = identity.ForServicePrincipal(env.TenantID, env.DeveloperClientID, env.DeveloperSecret, a.HTTP)
	must(err)
	a.arm, err = arm.New(env.SubscriptionID, a.dev, azcore.ClientOptions{Transport: a.HTTP})
	must(err)
	_, err = a.arm.EnsureGroup(t.Context(), azureGroup, "westeurope")
	must(err)
	w.stop()
	w.options.azure = a.HTTP
	w.options.Features = Features{ObjectLevelWorkloadIdentity: true}
	w.options.Config = rest.CopyConfig(w.options.Config)
	w.options.Config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) { return a.resign(next, r) })
	})
	w.start()
	return a
}

// resign lets a request through, and gives a token that the API server made for Azure the issuer that Azure trusts.
func (a *azure) resign(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	resp, err := next.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusCreated || !strings.HasSuffix(r.URL.Path, "/token") {
		return resp, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	obj, gvk, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, err
	}
	made := obj.(*authenticationv1.TokenRequest)
	if made.Status.Token, err = a.issuer.Resign(made.Status.Token); err != nil {
		return nil, err
	}
	made.SetGroupVersionKind(*gvk)
	if body, err = json.Marshal(made); err != nil {
		return nil, err
	}
	resp.Header.Set("Content-Type", "application/json")
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Del("Content-Length")
	return resp, nil
}

// account makes a ServiceAccount in the world's namespace with a managed identity of its own.
func (a *azure) account(name string) arm.Identity {
	a.t.Helper()
	id, _, err := a.arm.EnsureIdentity(a.t.Context(), azureGroup, name, "westeurope")
	if err == nil {
		_, err = a.arm.EnsureFederatedCredential(a.t.Context(), azureGroup, name, arm.Federation{
			Name: "cluster", Issuer: a.Env().IssuerURL, Subject: "system:serviceaccount:" + a.w.namespace + ":" + name, Audience: azureAudience,
		})
	}
	if err != nil {
		a.t.Fatal(err)
	}
	a.w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: a.w.namespace, Name: name, Annotations: map[string]string{
		annotationClient: id.ClientID, annotationTenant: id.TenantID,
	}}})
	return id
}

// vault makes a vault whose one key the principal may use, and returns a function that seals a Secret for it.
func (a *azure) vault(name, principal string) func(secret string) string {
	a.t.Helper()
	ctx, env := a.t.Context(), a.Env()
	must := func(err error) {
		a.t.Helper()
		if err != nil {
			a.t.Fatal(err)
		}
	}
	_, _, err := a.arm.EnsureVault(ctx, azureGroup, arm.VaultSpec{Name: name, Location: "westeurope", TenantID: env.TenantID})
	must(err)
	_, err = a.arm.EnsureAccess(ctx, azureGroup, name, env.TenantID, principal, "get", "decrypt")
	must(err)
	_, err = a.arm.EnsureAccess(ctx, azureGroup, name, env.TenantID, env.DeveloperObjectID, "get", "list", "create")
	must(err)
	key, _, err := a.arm.EnsureKey(ctx, azureGroup, name, "sops", 2048)
	must(err)
	key, public, err := keyvault.New(a.dev, keyvault.Options{Client: azcore.ClientOptions{Transport: a.HTTP}}).PublicKey(ctx, key)
	must(err)
	wrap := keyring.Wrapper{Azure: map[keyvault.KeyID]*rsa.PublicKey{key: public}}
	return func(secret string) string {
		text := fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\nstringData:\n  password: %s\n", secret, canary)
		sealed, err := sops.Seal(ctx, []byte(text), sops.YAML, sops.SealOptions{
			EncryptedRegex: "^(data|stringData)$", Wrap: wrap.Wrap, Recipients: []recipient.Group{{keyring.AzureRecipient(key, time.Now())}},
		})
		must(err)
		return string(sealed)
	}
}

func TestNoTenantRidesOnWhatAnothersIdentityUnwrapped(t *testing.T) {
	w := newWorld(t)
	a := withAzure(t, w)
	sealA, sealB := a.vault("vault-a", a.account("tenant-a").PrincipalID), a.vault("vault-b", a.account("tenant-b").PrincipalID)
	ofB := sealB("theirs")
	w.push(map[string]string{"a/own.yaml": sealA("own"), "b/theirs.yaml": ofB, "again/theirs.yaml": ofB, "thief/theirs.yaml": ofB})
	w.source()
	as := func(name, account string) *Kustomization {
		return w.kustomization(name, func(s *kustomizev1.KustomizationSpec) {
			s.Decryption, s.NamePrefix = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: account}, name+"-"
		})
	}
	thief := as("thief", "tenant-a")
	got := w.until(thief, "False", "vault-b")
	if readyReason(got) != "BuildFailed" || !strings.Contains(readyMessage(got), "decrypt") {
		t.Errorf("%s: %s", readyReason(got), readyMessage(got))
	}
	w.until(as("b", "tenant-b"), "True", "Applied")
	w.until(as("a", "tenant-a"), "True", "Applied")

	// B's data key is in memory by now, and serves B; A is refused by the vault all the same.
	asked := func() int { return a.Requests()["keyvault/decrypt"] }
	before := asked()
	w.until(as("again", "tenant-b"), "True", "Applied")
	if asked() != before {
		t.Errorf("B's second Kustomization cost %d requests: its key was not in memory, which the rest of this test is about", asked()-before)
	}
	refusedAt := got.Status.LastHandledReconcileAt
	w.poke(thief)
	testkit.Eventually(t, 20*time.Second, func() error {
		if got = w.until(thief, "False", "vault-b"); got.Status.LastHandledReconcileAt == refusedAt {
			return errors.New("not yet reconciled again")
		}
		return nil
	})
	if asked() == before {
		t.Error("the vault was not asked on tenant A's behalf")
	}
	w.mustNotLeak(canary)
}
