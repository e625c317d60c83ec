package arm

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/testkit"
	"github.com/sluice-gitops/sluice/internal/testkit/azureserver"
)

var _ = flag.Bool("update", false, "rewrite golden files")

func developer(t *testing.T, e *azureserver.Server) (*Client, azcore.TokenCredential) {
	t.Helper()
	env := e.Env()
	cred, err := identity.ForServicePrincipal(env.TenantID, env.DeveloperClientID, env.DeveloperSecret, e.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(env.SubscriptionID, cred, azcore.ClientOptions{Transport: e.HTTP})
	if err != nil {
		t.Fatal(err)
	}
	return c, cred
}

// TestEverythingIsMadeOnceAndThenLeftAlone runs the onboarding twice; the second run may not write.
func TestEverythingIsMadeOnceAndThenLeftAlone(t *testing.T) {
	e := azureserver.New(t, azureserver.Options{})
	c, _ := developer(t, e)
	ctx, env := t.Context(), e.Env()
	const group, location = "sluice", "westeurope"

	onboard := func() (changes []bool, facts string) {
		step := func(changed bool, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			changes = append(changes, changed)
		}
		changed, err := c.EnsureGroup(ctx, group, location)
		step(changed, err)
		id, changed, err := c.EnsureIdentity(ctx, group, "flux", location)
		step(changed, err)
		changed, err = c.EnsureFederatedCredential(ctx, group, "flux", Federation{Name: "kustomize-controller", Issuer: env.IssuerURL,
			Subject: "system:serviceaccount:flux-system:kustomize-controller", Audience: "api://AzureADTokenExchange"})
		step(changed, err)
		v, changed, err := c.EnsureVault(ctx, group, VaultSpec{Name: "sluice-vault", Location: location, TenantID: env.TenantID})
		step(changed, err)
		changed, err = c.EnsureAccess(ctx, group, "sluice-vault", env.TenantID, id.PrincipalID, "get", "decrypt")
		step(changed, err)
		changed, err = c.EnsureAccess(ctx, group, "sluice-vault", env.TenantID, env.DeveloperObjectID, "get", "list", "create", "encrypt", "decrypt")
		step(changed, err)
		key, changed, err := c.EnsureKey(ctx, group, "sluice-vault", "sops", 2048)
		step(changed, err)
		if id.ClientID == "" || id.PrincipalID == "" || id.TenantID == "" || id.ID == "" || key.Version == "" || v.URL != "https://sluice-vault.vault.azure.net" {
			t.Fatalf("identity %+v, vault %+v, key %v", id, v, key)
		}
		return changes, fmt.Sprint(id, v.URL, v.ID, key)
	}
	changes, first := onboard()
	if slices.Contains(changes, false) {
		t.Errorf("first run: %v", changes)
	}
	writes := puts(e)
	changes, second := onboard()
	if slices.Contains(changes, true) || puts(e) != writes {
		t.Errorf("second run wrote: %v, %d writes more", changes, puts(e)-writes)
	}
	if first != second {
		t.Errorf("second run found\n%s\nafter\n%s", second, first)
	}
}

// puts counts the requests that change something.
func puts(e *azureserver.Server) int {
	n := 0
	for op, count := range e.Requests() {
		if strings.HasPrefix(op, "arm/put") || strings.HasPrefix(op, "arm/register") || strings.HasSuffix(op, "create") {
			n += count
		}
	}
	return n
}

func TestAChangedFederatedCredentialIsPutRight(t *testing.T) {
	e := azureserver.New(t, azureserver.Options{})
	c, _ := developer(t, e)
	ctx := t.Context()
	if _, err := c.EnsureGroup(ctx, "g", "westeurope"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.EnsureIdentity(ctx, "g", "flux", "westeurope"); err != nil {
		t.Fatal(err)
	}
	f := Federation{Name: "one", Issuer: e.Env().IssuerURL, Subject: "system:serviceaccount:a:b", Audience: "api://AzureADTokenExchange"}
	for _, tt := range []struct {
		name, subject string
		want          bool
	}{{"one", "system:serviceaccount:a:b", true}, {"one", "system:serviceaccount:a:c", true}, {"other-name", "system:serviceaccount:a:c", false}} {
		f.Name, f.Subject = tt.name, tt.subject
		if changed, err := c.EnsureFederatedCredential(ctx, "g", "flux", f); err != nil || changed != tt.want {
			t.Errorf("%+v: changed %v, %v", tt, changed, err)
		}
	}
}

func TestADeletedVaultIsRecoveredWithItsKeys(t *testing.T) {
	e := azureserver.New(t, azureserver.Options{})
	c, _ := developer(t, e)
	ctx, env := t.Context(), e.Env()
	if _, err := c.EnsureGroup(ctx, "g", "westeurope"); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.EnsureVault(ctx, "g", VaultSpec{Name: "vault-r", Location: "westeurope", TenantID: env.TenantID})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.EnsureAccess(ctx, "g", "vault-r", env.TenantID, env.DeveloperObjectID, "get", "create"); err != nil {
		t.Fatal(err)
	}
	key, _, err := c.EnsureKey(ctx, "g", "vault-r", "sops", 3072)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.vaults.Delete(ctx, "g", "vault-r", nil); err != nil {
		t.Fatal(err)
	}
	if _, changed, err := c.EnsureVault(ctx, "g", VaultSpec{Name: "vault-r", Location: "westeurope", TenantID: env.TenantID}); err != nil || !changed {
		t.Fatalf("recover: changed %v, %v", changed, err)
	}
	if again, changed, err := c.EnsureKey(ctx, "g", "vault-r", "sops", 3072); err != nil || changed || again != key {
		t.Errorf("key after recovery: %v, changed %v, %v; want %v", again, changed, err, key)
	}
}

func TestAVaultInRBACModeIsNotTouched(t *testing.T) {
	e := azureserver.New(t, azureserver.Options{})
	c, _ := developer(t, e)
	ctx, env := t.Context(), e.Env()
	if _, err := c.EnsureGroup(ctx, "g", "westeurope"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.EnsureVault(ctx, "g", VaultSpec{Name: "vault-b", Location: "westeurope", TenantID: env.TenantID}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.vaults.Update(ctx, "g", "vault-b", armkeyvault.VaultPatchParameters{
		Properties: &armkeyvault.VaultPatchProperties{EnableRbacAuthorization: ref(true)}}, nil); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.EnsureVault(ctx, "g", VaultSpec{Name: "vault-b", Location: "westeurope", TenantID: env.TenantID})
	if f := fault.From(err); f == nil || f.Code != "SLU-ARM-010" {
		t.Errorf("EnsureVault: %v", err)
	}
	_, err = c.EnsureAccess(ctx, "g", "vault-b", env.TenantID, env.DeveloperObjectID, "get")
	if f := fault.From(err); f == nil || f.Code != "SLU-ARM-010" {
		t.Errorf("EnsureAccess: %v", err)
	}
}

func TestMissingThingsAreNamed(t *testing.T) {
	e := azureserver.New(t, azureserver.Options{})
	c, _ := developer(t, e)
	ctx := t.Context()
	_, _, err := c.EnsureIdentity(ctx, "no-such-group", "flux", "westeurope")
	if f := fault.From(err); f == nil || f.Code != "SLU-ARM-005" || f.Hop != fault.HopARM {
		t.Errorf("identity in no group: %v", err)
	}
	if _, err := c.EnsureGroup(ctx, "g", "westeurope"); err != nil {
		t.Fatal(err)
	}
	_, err = c.EnsureAccess(ctx, "g", "no-such-vault", e.Env().TenantID, e.Env().DeveloperObjectID, "get")
	if f := fault.From(err); f == nil || f.Code != "SLU-ARM-006" {
		t.Errorf("access to no vault: %v", err)
	}
	other, err := New("99999999-9999-4999-8999-999999999999", mustCred(t, e), azcore.ClientOptions{Transport: e.HTTP})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = other.EnsureGroup(ctx, "g", "westeurope"); fault.From(err) == nil || fault.From(err).Hop != fault.HopARM {
		t.Errorf("other subscription: %v", err)
	}
}

func mustCred(t *testing.T, e *azureserver.Server) azcore.TokenCredential {
	_, cred := developer(t, e)
	return cred
}

// answer is a transport with one reply for everything.
type answer struct {
	status int
	body   string
	err    error
}

func (a answer) Do(r *http.Request) (*http.Response, error) {
	if a.err != nil {
		return nil, a.err
	}
	return &http.Response{StatusCode: a.status, Header: http.Header{"Retry-After-Ms": {"1"}}, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}, nil
}

type static struct{}

func (static) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "t", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestEveryRefusalNamesItsFix(t *testing.T) {
	var out strings.Builder
	codes := make([]string, 0, len(refusals)+1)
	for code := range refusals {
		codes = append(codes, code)
	}
	codes = append(codes, "SomethingNew")
	slices.Sort(codes)
	numbers := map[string]bool{}
	for _, code := range codes {
		c, err := New("s", static{}, azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1},
			Transport: answer{status: 400, body: `{"error":{"code":"` + code + `","message":"Azure's words.\nMore."}}`}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.EnsureGroup(t.Context(), "g", "westeurope")
		f := fault.From(err)
		if f == nil || f.Hop != fault.HopARM || f.Why == "" || f.Fix == "" || numbers[f.Code] && refusals[code] != quota {
			t.Fatalf("%s: %v (%+v)", code, err, f)
		}
		numbers[f.Code] = true
		out.WriteString(f.Multiline() + "\n\n")
	}
	testkit.Golden(t, "testdata/refusals.golden", []byte(out.String()))

	c, err := New("s", static{}, azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}, Transport: answer{err: errors.New("dial tcp: no route to host")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.EnsureGroup(t.Context(), "g", "westeurope"); fault.From(err) == nil || fault.From(err).Code != "SLU-ARM-019" {
		t.Errorf("unreachable: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = c.EnsureGroup(ctx, "g", "westeurope"); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
