// Package arm makes the Azure resources that decryption needs, through Azure Resource Manager and Key Vault: the
// resource group, the user-assigned identity, its federated credential, the vault with its access policies, and the key.
//
// `sluice up` and `sluice azure provision` call it, with the credential of whoever runs them. Every Ensure function
// reads first, writes only what differs and says whether it wrote, so that running it again is free and harmless.
//
// It refuses to take anything away: it deletes nothing, narrows no permission, changes no vault from RBAC to access
// policies and rotates no key. Errors are faults of hop "resource-manager", or of hop "vault" and "key" for the key
// itself, or the credential's.
package arm

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
)

// Client makes resources in one subscription. It is safe for concurrent use, but writes of federated credentials to one
// identity must follow each other: Azure refuses them side by side.
type Client struct {
	subscription string
	rest         *azarm.Client
	identities   *armmsi.UserAssignedIdentitiesClient
	federations  *armmsi.FederatedIdentityCredentialsClient
	vaults       *armkeyvault.VaultsClient
	keys         *keyvault.Client
}

// New returns a client for a subscription. It sends nothing.
func New(subscriptionID string, cred azcore.TokenCredential, o azcore.ClientOptions) (*Client, error) {
	opts := &azarm.ClientOptions{ClientOptions: o}
	rest, err := azarm.NewClient("github.com/sluice-gitops/sluice/internal/azure/arm", "v1.0.0", cred, opts)
	if err != nil {
		return nil, explain(err, "subscription "+subscriptionID)
	}
	c := &Client{subscription: subscriptionID, rest: rest, keys: keyvault.New(cred, keyvault.Options{Client: o})}
	if c.identities, err = armmsi.NewUserAssignedIdentitiesClient(subscriptionID, cred, opts); err != nil {
		return nil, explain(err, "subscription "+subscriptionID)
	}
	if c.federations, err = armmsi.NewFederatedIdentityCredentialsClient(subscriptionID, cred, opts); err != nil {
		return nil, explain(err, "subscription "+subscriptionID)
	}
	if c.vaults, err = armkeyvault.NewVaultsClient(subscriptionID, cred, opts); err != nil {
		return nil, explain(err, "subscription "+subscriptionID)
	}
	return c, nil
}

// EnsureKey makes an RSA key for encrypting and decrypting, of bits 2048, 3072 or 4096, unless the vault has one of
// that name; an existing key's size is left as it is. The returned id has the current version. The caller needs the
// vault's key permissions get and create.
func (c *Client) EnsureKey(ctx context.Context, vaultURL, name string, bits int) (id keyvault.KeyID, changed bool, err error) {
	id = keyvault.KeyID{Vault: vaultURL, Name: name}
	got, _, err := c.keys.PublicKey(ctx, id)
	if err == nil {
		return got, false, nil
	}
	if !keyvault.NotFound(err) {
		return keyvault.KeyID{}, false, err
	}
	got, err = c.keys.CreateKey(ctx, id, bits)
	return got, err == nil, err
}

func deref[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}

func ref[T any](v T) *T { return &v }
