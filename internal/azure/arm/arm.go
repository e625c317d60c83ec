// Package arm reads and makes the Azure resources that decryption needs, through Azure Resource Manager: resource
// providers, the resource group, the AKS cluster, the user-assigned identity with its federated credential, the vault,
// its key, and access to it by policy or by role.
//
// package provision decides what is to be done and calls it, with the credential of whoever runs the command. Every
// Ensure function reads first, writes only what differs and says whether it wrote, so that running it again, or beside
// another, is free and harmless. What Azure does in the background is waited for.
//
// It refuses to take anything away unless it is called to: Ensure functions narrow no permission, change no vault
// between RBAC and access policies and rotate no key; only DeleteGroup and PurgeVault delete. Errors are faults of hop
// "resource-manager", or the credential's.
package arm

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

// Client makes resources in one subscription. It is safe for concurrent use, but writes of federated credentials to one
// identity must follow each other: Azure refuses them side by side.
type Client struct {
	subscription string
	cred         azcore.TokenCredential
	options      azcore.ClientOptions
	rest         *azarm.Client
	providers    *armresources.ProvidersClient
	groups       *armresources.ResourceGroupsClient
	resources    *armresources.Client
	clusters     *armcontainerservice.ManagedClustersClient
	identities   *armmsi.UserAssignedIdentitiesClient
	federations  *armmsi.FederatedIdentityCredentialsClient
	vaults       *armkeyvault.VaultsClient
	keys         *armkeyvault.KeysClient
	assignments  *armauthorization.RoleAssignmentsClient
}

// New returns a client for a subscription. It sends nothing.
func New(subscriptionID string, cred azcore.TokenCredential, o azcore.ClientOptions) (*Client, error) {
	// Registering a provider changes the subscription: provision plans it and says so, instead of the SDK in passing.
	opts := &azarm.ClientOptions{ClientOptions: o, DisableRPRegistration: true}
	c := &Client{subscription: subscriptionID, cred: cred, options: o}
	var errs [10]error
	c.rest, errs[0] = azarm.NewClient("github.com/sluice-gitops/sluice/internal/azure/arm", "v1.0.0", cred, opts)
	c.providers, errs[1] = armresources.NewProvidersClient(subscriptionID, cred, opts)
	c.groups, errs[2] = armresources.NewResourceGroupsClient(subscriptionID, cred, opts)
	c.resources, errs[3] = armresources.NewClient(subscriptionID, cred, opts)
	c.clusters, errs[4] = armcontainerservice.NewManagedClustersClient(subscriptionID, cred, opts)
	c.identities, errs[5] = armmsi.NewUserAssignedIdentitiesClient(subscriptionID, cred, opts)
	c.federations, errs[6] = armmsi.NewFederatedIdentityCredentialsClient(subscriptionID, cred, opts)
	c.vaults, errs[7] = armkeyvault.NewVaultsClient(subscriptionID, cred, opts)
	c.keys, errs[8] = armkeyvault.NewKeysClient(subscriptionID, cred, opts)
	c.assignments, errs[9] = armauthorization.NewRoleAssignmentsClient(subscriptionID, cred, opts)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, explain(err, "subscription "+subscriptionID)
	}
	return c, nil
}

// Subscription is the id of the subscription that the client works in.
func (c *Client) Subscription() string { return c.subscription }

const (
	firstPause = 100 * time.Millisecond
	longPause  = 10 * time.Second
	patience   = 2 * time.Minute
)

// patiently does something again while Azure refuses it for a reason that passes by itself: another write under way, or
// a new identity that not every part of Azure has heard of.
func patiently(ctx context.Context, do func() error, passing ...string) error {
	pause := firstPause
	for began := time.Now(); ; pause = min(2*pause, longPause) {
		err := do()
		code, passes := codeOf(err), false
		for _, p := range passing {
			passes = passes || code == p
		}
		if err == nil || !passes || time.Since(began)+pause > patience {
			return err
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
}

// made runs a PUT and says whether its answer was 201: what it names was not there before. 200 means that somebody else
// has just made it. Not every provider keeps to that (Key Vault answers 200 to both).
func made(ctx context.Context, put func(context.Context) error) (bool, error) {
	var res *http.Response
	err := put(policy.WithCaptureResponse(ctx, &res))
	return err == nil && res != nil && res.StatusCode == http.StatusCreated, err
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func deref[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}

func ref[T any](v T) *T { return &v }
