package arm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// pollEvery paces the wait for a vault. The SDK's own pace is half a minute unless Azure asks for less.
const pollEvery = time.Second

// Vault is a key vault.
type Vault struct {
	ID              string   `json:"id"`
	Name            string   `json:"name"`
	Location        string   `json:"location"`
	State           string   `json:"state"` // Succeeded, or RegisteringDns while its name is new
	URL             string   `json:"url"`   // https://<name>.vault.azure.net, without a trailing slash
	TenantID        string   `json:"tenantId"`
	RBAC            bool     `json:"rbac"` // access by role assignments; its access policies are ignored
	PurgeProtection bool     `json:"purgeProtection"`
	Access          []Access `json:"accessPolicies"`
}

// Access is what one principal may do with a vault's keys by access policy.
type Access struct {
	TenantID string   `json:"tenantId"`
	ObjectID string   `json:"objectId"`
	Keys     []string `json:"keys"` // lower case
}

// Permits says whether the vault's policies give an object at least these permissions on keys.
func (v *Vault) Permits(objectID string, permissions ...string) bool {
	var have []string
	for _, a := range v.Access {
		if strings.EqualFold(a.ObjectID, objectID) && strings.EqualFold(a.TenantID, v.TenantID) {
			have = append(have, a.Keys...)
		}
	}
	return !slices.ContainsFunc(permissions, func(p string) bool {
		return !slices.Contains(have, strings.ToLower(p)) && !slices.Contains(have, "all")
	})
}

// VaultSpec is what a new vault is made with.
type VaultSpec struct {
	Name, Location, TenantID string
	RBAC                     bool // decide by role assignments instead of access policies
	PurgeProtection          bool // forever: Azure does not take it back
}

// Vault reads a vault; nil when the group has none of that name.
func (c *Client) Vault(ctx context.Context, group, name string) (*Vault, error) {
	got, err := c.vaults.Get(ctx, group, name, nil)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err, "key vault "+name)
	}
	return ref(vaultOf(got.Vault)), nil
}

// Vaults lists the vaults of a resource group.
func (c *Client) Vaults(ctx context.Context, group string) ([]Vault, error) {
	var all []Vault
	for pager := c.vaults.NewListByResourceGroupPager(group, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, explain(err, "vaults of resource group "+group)
		}
		for _, v := range page.Value {
			if v != nil {
				all = append(all, vaultOf(*v))
			}
		}
	}
	return all, nil
}

// EnsureVault makes a vault. A deleted vault of the name is recovered, with its keys. An existing vault in the other
// mode of access is a fault: changing the mode would take everybody's access away.
func (c *Client) EnsureVault(ctx context.Context, group string, s VaultSpec) (v Vault, changed bool, err error) {
	object := "key vault " + s.Name
	have, err := c.Vault(ctx, group, s.Name)
	if err != nil {
		return Vault{}, false, err
	}
	if have == nil {
		made, err := c.putVault(ctx, group, s.Name, armkeyvault.VaultCreateOrUpdateParameters{Location: &s.Location, Properties: s.properties()})
		if codeOf(err) == "ConflictError" {
			made, err = c.recoverVault(ctx, group, s)
		}
		if err != nil {
			return Vault{}, false, explain(err, object)
		}
		have, changed = &made, true
	}
	if have.RBAC != s.RBAC {
		return Vault{}, changed, OtherMode(*have)
	}
	return *have, changed, c.awaitVault(ctx, group, have)
}

func (s VaultSpec) properties() *armkeyvault.VaultProperties {
	p := &armkeyvault.VaultProperties{
		TenantID: &s.TenantID,
		SKU:      &armkeyvault.SKU{Family: ref(armkeyvault.SKUFamilyA), Name: ref(armkeyvault.SKUNameStandard)},
		// From api-version 2026-02-01 on, a vault is made in RBAC mode unless this is sent.
		EnableRbacAuthorization: &s.RBAC,
		AccessPolicies:          []*armkeyvault.AccessPolicyEntry{},
		EnableSoftDelete:        ref(true), SoftDeleteRetentionInDays: ref[int32](90),
		EnabledForDeployment: ref(false), EnabledForDiskEncryption: ref(false), EnabledForTemplateDeployment: ref(false),
		PublicNetworkAccess: ref("Enabled"),
	}
	if s.PurgeProtection {
		p.EnablePurgeProtection = ref(true) // Azure takes true or nothing here
	}
	return p
}

func (c *Client) recoverVault(ctx context.Context, group string, s VaultSpec) (Vault, error) {
	return c.putVault(ctx, group, s.Name, armkeyvault.VaultCreateOrUpdateParameters{Location: &s.Location, Properties: &armkeyvault.VaultProperties{
		TenantID: &s.TenantID, CreateMode: ref(armkeyvault.CreateModeRecover),
		SKU: &armkeyvault.SKU{Family: ref(armkeyvault.SKUFamilyA), Name: ref(armkeyvault.SKUNameStandard)},
	}})
}

func (c *Client) putVault(ctx context.Context, group, name string, body armkeyvault.VaultCreateOrUpdateParameters) (Vault, error) {
	poller, err := c.vaults.BeginCreateOrUpdate(ctx, group, name, body, nil)
	if err != nil {
		return Vault{}, err
	}
	res, err := poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: pollEvery})
	return vaultOf(res.Vault), err
}

// awaitVault waits for a vault that somebody else is just making.
func (c *Client) awaitVault(ctx context.Context, group string, v *Vault) error {
	for pause := firstPause; v.State == "RegisteringDns"; pause = min(2*pause, longPause) {
		if err := wait(ctx, pause); err != nil {
			return explain(err, "key vault "+v.Name)
		}
		got, err := c.Vault(ctx, group, v.Name)
		if err != nil || got == nil {
			return err
		}
		*v = *got
	}
	return nil
}

func vaultOf(v armkeyvault.Vault) Vault {
	p := deref(v.Properties)
	out := Vault{
		ID: deref(v.ID), Name: deref(v.Name), Location: deref(v.Location), URL: strings.TrimSuffix(deref(p.VaultURI), "/"), TenantID: deref(p.TenantID),
		State: string(deref(p.ProvisioningState)), RBAC: deref(p.EnableRbacAuthorization), PurgeProtection: deref(p.EnablePurgeProtection), Access: []Access{},
	}
	for _, entry := range p.AccessPolicies {
		if entry == nil {
			continue
		}
		a := Access{TenantID: deref(entry.TenantID), ObjectID: deref(entry.ObjectID), Keys: []string{}}
		for _, k := range deref(entry.Permissions).Keys {
			a.Keys = append(a.Keys, strings.ToLower(string(deref(k))))
		}
		out.Access = append(out.Access, a)
	}
	return out
}

// EnsureAccess gives an object (an identity's PrincipalID, never its ClientID) at least the given permissions on the
// vault's keys, such as "get" and "decrypt". Permissions that it has besides stay.
func (c *Client) EnsureAccess(ctx context.Context, group, vault, tenantID, objectID string, permissions ...string) (changed bool, err error) {
	object := "key vault " + vault
	got, err := c.vaults.Get(ctx, group, vault, nil)
	if err != nil {
		return false, explain(err, object)
	}
	v := vaultOf(got.Vault)
	if v.RBAC {
		return false, OtherMode(v)
	}
	if v.Permits(objectID, permissions...) {
		return false, nil
	}
	keys := make([]*armkeyvault.KeyPermissions, len(permissions))
	for i, name := range permissions {
		keys[i] = ref(armkeyvault.KeyPermissions(name))
	}
	_, err = c.vaults.UpdateAccessPolicy(ctx, group, vault, armkeyvault.AccessPolicyUpdateKindAdd, armkeyvault.VaultAccessPolicyParameters{
		Properties: &armkeyvault.VaultAccessPolicyProperties{AccessPolicies: []*armkeyvault.AccessPolicyEntry{{
			TenantID: &tenantID, ObjectID: &objectID, Permissions: &armkeyvault.Permissions{Keys: keys},
		}}},
	}, nil)
	return err == nil, explain(err, object)
}

// OtherMode is the fault of a vault that decides about access in the way that was not asked for.
func OtherMode(v Vault) *fault.Fault {
	f := &fault.Fault{
		Code: "SLU-ARM-010", Hop: fault.HopARM, Object: "key vault " + v.Name,
		Seen: "the vault is in RBAC mode",
		Why:  "its access policies are ignored, and changing the mode takes away everybody's roles",
		Fix:  "give access by roles: run it again with --rbac; or, to change the vault's mode: az keyvault update -n " + v.Name + " --enable-rbac-authorization false",
	}
	if !v.RBAC {
		f.Seen, f.Why = "the vault decides by access policies", "role assignments are ignored, and changing the mode takes away everybody's policies"
		f.Fix = fmt.Sprintf("give access by policies: run it again without --rbac; or, to change the vault's mode: az keyvault update -n %s --enable-rbac-authorization true", v.Name)
	}
	return f
}
