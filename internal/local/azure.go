package local

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/emulator"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/local/node"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

// What the azure step makes, with the names of examples/aks/iac where those are not chosen by its parameters.
const (
	resourceGroup = "sluice"
	location      = "westeurope"
	identityName  = "kustomize-controller"
	keyName       = "sops"
	keyBits       = 3072
)

// developerPermissions let the developer at the keyboard make keys and do what sops does.
var developerPermissions = []string{
	"get", "list", "create", "update", "import", "delete", "recover", "encrypt", "decrypt", "wrapKey", "unwrapKey", "rotate",
}

// vaultName is unique in the emulated Azure, as it would have to be in the real one.
func vaultName(subscription string) string { return "sluice-" + strings.ToLower(subscription[:8]) }

// provision makes, as the developer and through the REST APIs, what iac/*.bicep makes on Azure, and notes it in the
// record. What exists already is left as it is.
func (s *supervisor) provision(ctx context.Context, step *event.Step) (string, error) {
	env := s.emulator.Env()
	transport, err := throughEmulator(s.emulator.Addr(), s.emulator.CAFile())
	if err != nil {
		return "", err
	}
	cred, err := identity.ForServicePrincipal(env.TenantID, env.DeveloperClientID, env.DeveloperSecret, transport)
	if err != nil {
		return "", err
	}
	clientOptions := azcore.ClientOptions{Transport: transport}
	c, err := arm.New(env.SubscriptionID, cred, clientOptions)
	if err != nil {
		return "", err
	}
	made, key, err := onboard(ctx, c, env, step)
	if err != nil {
		return "", err
	}
	step.Progress("public half of the key")
	id, pub, err := keyvault.New(cred, keyvault.Options{Client: clientOptions}).PublicKey(ctx, key)
	if err != nil {
		return "", err
	}
	s.key, s.publicKey = id, pub
	made.KeyURL = id.String()
	return made.KeyURL, s.rec.Update(func(r *state.Record) { r.Azure = made })
}

// onboard makes group, identity, federated credential, vault, access and key, in the order in which each needs the
// others.
func onboard(ctx context.Context, c *arm.Client, env emulator.Environment, step *event.Step) (state.Azure, keyvault.KeyID, error) {
	made := state.Azure{TenantID: env.TenantID, SubscriptionID: env.SubscriptionID, ResourceGroup: resourceGroup, Identity: identityName, Vault: vaultName(env.SubscriptionID)}
	var key keyvault.KeyID
	var vault arm.Vault
	for _, do := range []struct {
		what string
		make func() error
	}{
		{"resource group", func() error {
			_, err := c.EnsureGroup(ctx, resourceGroup, location)
			return err
		}},
		{"managed identity", func() error {
			id, _, err := c.EnsureIdentity(ctx, resourceGroup, identityName, location)
			made.ClientID, made.PrincipalID = id.ClientID, id.PrincipalID
			return err
		}},
		{"federated credential", func() error {
			_, err := c.EnsureFederatedCredential(ctx, resourceGroup, identityName, arm.Federation{
				Name: "flux-system-kustomize-controller", Issuer: env.IssuerURL, Audience: node.TokenExchangeAudience,
				Subject: fmt.Sprintf("system:serviceaccount:%s:%s", node.Namespace, node.Name),
			})
			return err
		}},
		{"key vault", func() (err error) {
			vault, _, err = c.EnsureVault(ctx, resourceGroup, made.Vault, location, env.TenantID)
			return err
		}},
		{"access policy of the controller", func() error {
			_, err := c.EnsureAccess(ctx, resourceGroup, made.Vault, env.TenantID, made.PrincipalID, "get", "decrypt")
			return err
		}},
		{"access policy of the developer", func() error {
			_, err := c.EnsureAccess(ctx, resourceGroup, made.Vault, env.TenantID, env.DeveloperObjectID, developerPermissions...)
			return err
		}},
		{"key", func() (err error) {
			key, _, err = c.EnsureKey(ctx, vault.URL, keyName, keyBits)
			return err
		}},
	} {
		step.Progress(do.what)
		if err := do.make(); err != nil {
			return made, key, fmt.Errorf("%s: %w", do.what, err)
		}
	}
	return made, key, nil
}

// throughEmulator is an HTTP client that reaches Azure's names as the user's tools do: by the proxy, trusting its CA.
func throughEmulator(addr, caFile string) (*http.Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	return &http.Client{Transport: &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: addr}),
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}, nil
}

// sealing is what the repository step needs of the azure step.
type sealing struct {
	key       keyvault.KeyID // with version
	publicKey *rsa.PublicKey
}
