package arm

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
)

// Identity is a user-assigned managed identity. Workloads sign in with its ClientID; access policies name its
// PrincipalID. Mixing the two up is the most common mistake there is.
type Identity struct {
	ID          string // resource id
	ClientID    string
	PrincipalID string
	TenantID    string
}

// EnsureIdentity makes a user-assigned managed identity; an existing one keeps its location.
func (c *Client) EnsureIdentity(ctx context.Context, group, name, location string) (id Identity, changed bool, err error) {
	object := "identity " + name
	got, err := c.identities.Get(ctx, group, name, nil)
	if err == nil {
		return identityOf(got.Identity), false, nil
	}
	if !absent(err) {
		return Identity{}, false, explain(err, object)
	}
	made, err := c.identities.CreateOrUpdate(ctx, group, name, armmsi.Identity{Location: &location}, nil)
	if err != nil {
		return Identity{}, false, explain(err, object)
	}
	return identityOf(made.Identity), true, nil
}

func identityOf(i armmsi.Identity) Identity {
	p := deref(i.Properties)
	return Identity{ID: deref(i.ID), ClientID: deref(p.ClientID), PrincipalID: deref(p.PrincipalID), TenantID: deref(p.TenantID)}
}

// Federation says whose tokens an identity accepts. Entra ID compares all three byte by byte.
type Federation struct {
	Name     string // of the credential; 3 to 120 letters, digits, - and _
	Issuer   string // the cluster's, with its trailing slash
	Subject  string // system:serviceaccount:<namespace>:<name>
	Audience string // api://AzureADTokenExchange
}

// EnsureFederatedCredential makes an identity accept the tokens that f describes. A credential of another name that
// says the same satisfies it, because Azure allows each pair of issuer and subject only once; one of f's name that says
// something else is overwritten.
func (c *Client) EnsureFederatedCredential(ctx context.Context, group, identity string, f Federation) (changed bool, err error) {
	object := "federated credential " + f.Name + " of identity " + identity
	for pager := c.federations.NewListPager(group, identity, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return false, explain(err, object)
		}
		for _, have := range page.Value {
			if have != nil && f.equals(deref(have.Properties)) {
				return false, nil
			}
		}
	}
	_, err = c.federations.CreateOrUpdate(ctx, group, identity, f.Name, armmsi.FederatedIdentityCredential{
		Properties: &armmsi.FederatedIdentityCredentialProperties{
			Issuer: &f.Issuer, Subject: &f.Subject, Audiences: []*string{&f.Audience},
		},
	}, nil)
	if err != nil {
		return false, explain(err, object)
	}
	return true, nil
}

func (f Federation) equals(p armmsi.FederatedIdentityCredentialProperties) bool {
	return deref(p.Issuer) == f.Issuer && deref(p.Subject) == f.Subject && len(p.Audiences) == 1 && deref(p.Audiences[0]) == f.Audience
}
