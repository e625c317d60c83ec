package provision

import (
	"context"
	"strings"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
)

// Inventory is what a resource group holds that the trust chain is made of, whoever made it, and whatever else is there.
type Inventory struct {
	Subscription string             `json:"subscriptionId"`
	Group        *arm.Group         `json:"resourceGroup"` // nil: there is none
	Clusters     []arm.Cluster      `json:"clusters"`
	Identities   []IdentityItem     `json:"identities"`
	Vaults       []VaultItem        `json:"vaults"`
	Others       []arm.Resource     `json:"others"`
	Deleted      []arm.DeletedVault `json:"deletedVaults"` // of the group, recoverable
}

// IdentityItem is an identity with whom it trusts.
type IdentityItem struct {
	arm.Identity
	Federations []arm.Federation `json:"federatedCredentials"`
}

// VaultItem is a vault with its keys.
type VaultItem struct {
	arm.Vault
	Keys []arm.Key `json:"keys"`
}

// Take lists what the resource group holds. It changes nothing.
func Take(ctx context.Context, c *arm.Client, group string) (*Inventory, error) {
	inv := &Inventory{Subscription: c.Subscription(), Clusters: []arm.Cluster{}, Identities: []IdentityItem{}, Vaults: []VaultItem{}, Others: []arm.Resource{}, Deleted: []arm.DeletedVault{}}
	var err error
	if inv.Group, err = c.Group(ctx, group); err != nil {
		return nil, err
	}
	deleted, err := c.DeletedVaults(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range deleted {
		if strings.EqualFold(d.Group, group) {
			inv.Deleted = append(inv.Deleted, d)
		}
	}
	if inv.Group == nil {
		return inv, nil
	}
	for _, take := range []func(context.Context, *arm.Client, string) error{inv.clusters, inv.identities, inv.vaults, inv.others} {
		if err := take(ctx, c, group); err != nil {
			return nil, err
		}
	}
	return inv, nil
}

func (inv *Inventory) clusters(ctx context.Context, c *arm.Client, group string) error {
	found, err := c.Clusters(ctx, group)
	inv.Clusters = append(inv.Clusters, found...)
	return err
}

func (inv *Inventory) identities(ctx context.Context, c *arm.Client, group string) error {
	found, err := c.Identities(ctx, group)
	if err != nil {
		return err
	}
	for _, i := range found {
		item := IdentityItem{Identity: i, Federations: []arm.Federation{}}
		trusted, err := c.Federations(ctx, group, i.Name)
		if err != nil {
			return err
		}
		item.Federations = append(item.Federations, trusted...)
		inv.Identities = append(inv.Identities, item)
	}
	return nil
}

func (inv *Inventory) vaults(ctx context.Context, c *arm.Client, group string) error {
	found, err := c.Vaults(ctx, group)
	if err != nil {
		return err
	}
	for _, v := range found {
		item := VaultItem{Vault: v, Keys: []arm.Key{}}
		keys, err := c.Keys(ctx, group, v.Name)
		if err != nil {
			return err
		}
		for _, k := range keys {
			full, err := c.Key(ctx, group, v.Name, k.Name) // the list has no versions
			if err != nil {
				return err
			}
			if full != nil {
				k = *full
			}
			item.Keys = append(item.Keys, k)
		}
		inv.Vaults = append(inv.Vaults, item)
	}
	return nil
}

// others are the resources of kinds that this package does not make.
func (inv *Inventory) others(ctx context.Context, c *arm.Client, group string) error {
	found, err := c.Resources(ctx, group)
	for _, r := range found {
		switch strings.ToLower(r.Type) {
		case "microsoft.containerservice/managedclusters", "microsoft.managedidentity/userassignedidentities", "microsoft.keyvault/vaults":
		default:
			inv.Others = append(inv.Others, r)
		}
	}
	return err
}
