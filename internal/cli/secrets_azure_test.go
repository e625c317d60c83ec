package cli

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/emulator"
	"github.com/sluice-gitops/sluice/internal/testkit/azureserver"
)

// vault is an emulated Key Vault with one key, and a developer who may do something with it.
type vault struct {
	key     keyvault.KeyID
	keys    *keyvault.Client
	dev     azcore.TokenCredential
	options azcore.ClientOptions
	env     []string // of processes that are to use it
}

// newVault starts one whose developer has the permissions that are named, those to use the key if none is.
func newVault(t *testing.T, may ...string) *vault {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	e := azureserver.New(t, emulator.Options{})
	env := e.Env()
	dev, err := identity.ForServicePrincipal(env.TenantID, env.DeveloperClientID, env.DeveloperSecret, e.HTTP)
	check(err)
	options := azcore.ClientOptions{Transport: e.HTTP}
	manager, err := arm.New(env.SubscriptionID, dev, options)
	check(err)
	_, err = manager.EnsureGroup(t.Context(), "sluice", "westeurope")
	check(err)
	_, _, err = manager.EnsureVault(t.Context(), "sluice", arm.VaultSpec{Name: "interop-vault", Location: "westeurope", TenantID: env.TenantID})
	check(err)
	if len(may) == 0 {
		may = []string{"get", "list", "create", "encrypt", "decrypt"}
	}
	_, err = manager.EnsureAccess(t.Context(), "sluice", "interop-vault", env.TenantID, env.DeveloperObjectID, may...)
	check(err)
	v := &vault{keys: keyvault.New(dev, keyvault.Options{Client: options}), dev: dev, options: options, env: []string{
		"HTTPS_PROXY=http://" + e.Addr(), "SSL_CERT_FILE=" + e.CAFile(), "AZURE_TENANT_ID=" + env.TenantID,
		"AZURE_CLIENT_ID=" + env.DeveloperClientID, "AZURE_CLIENT_SECRET=" + env.DeveloperSecret,
	}}
	v.key, _, err = manager.EnsureKey(t.Context(), "sluice", "interop-vault", "sops", 2048)
	check(err)
	return v
}

// versionless is the key's URL as people write it: whatever version is the newest.
func (v *vault) versionless() string { return v.key.Vault + "/keys/" + v.key.Name }

// rotate makes a new version of the key, as az keyvault key rotate does, and returns that.
func (v *vault) rotate(t *testing.T) (version string) {
	t.Helper()
	c, err := azkeys.NewClient(v.key.Vault, v.dev, &azkeys.ClientOptions{ClientOptions: v.options})
	if err != nil {
		t.Fatal(err)
	}
	kty, size := azkeys.KeyTypeRSA, int32(2048)
	made, err := c.CreateKey(t.Context(), v.key.Name, azkeys.CreateKeyParameters{Kty: &kty, KeySize: &size}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return made.Key.KID.Version()
}
