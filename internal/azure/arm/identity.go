package arm

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
)

// Identity is a user-assigned managed identity. Workloads sign in with its ClientID; access policies name its
// PrincipalID. Mixing the two up is the most common mistake there is.
type Identity struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	ClientID    string `json:"clientId"`
	PrincipalID string `json:"principalId"`
	TenantID    string `json:"tenantId"`
}

// Identity reads a user-assigned managed identity; nil when there is none.
func (c *Client) Identity(ctx context.Context, group, name string) (*Identity, error) {
	got, err := c.identities.Get(ctx, group, name, nil)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err, "identity "+name)
	}
	return ref(identityOf(got.Identity)), nil
}

// Identities lists the user-assigned managed identities of a resource group.
func (c *Client) Identities(ctx context.Context, group string) ([]Identity, error) {
	var all []Identity
	for pager := c.identities.NewListByResourceGroupPager(group, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, explain(err, "identities of resource group "+group)
		}
		for _, i := range page.Value {
			if i != nil {
				all = append(all, identityOf(*i))
			}
		}
	}
	return all, nil
}

// EnsureIdentity makes a user-assigned managed identity; an existing one keeps its location.
func (c *Client) EnsureIdentity(ctx context.Context, group, name, location string) (id Identity, changed bool, err error) {
	have, err := c.Identity(ctx, group, name)
	if have != nil || err != nil {
		return deref(have), false, err
	}
	changed, err = made(ctx, func(ctx context.Context) error {
		got, err := c.identities.CreateOrUpdate(ctx, group, name, armmsi.Identity{Location: &location}, nil)
		id = identityOf(got.Identity)
		return err
	})
	return id, changed, explain(err, "identity "+name)
}

func identityOf(i armmsi.Identity) Identity {
	p := deref(i.Properties)
	return Identity{ID: deref(i.ID), Name: deref(i.Name), ClientID: deref(p.ClientID), PrincipalID: deref(p.PrincipalID), TenantID: deref(p.TenantID)}
}
