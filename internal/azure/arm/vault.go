package arm

import (
	"context"
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
	ID       string // resource id
	URL      string // https://<name>.vault.azure.net, without a trailing slash
	TenantID string
}

// EnsureVault makes a vault that decides by access policies. A deleted vault of the name is recovered, with its keys.
// An existing vault in RBAC mode is a fault: changing its mode would take everybody's access away.
func (c *Client) EnsureVault(ctx context.Context, group, name, location, tenantID string) (v Vault, changed bool, err error) {
	object := "key vault " + name
	got, err := c.vaults.Get(ctx, group, name, nil)
	if err == nil {
		if deref(deref(got.Properties).EnableRbacAuthorization) {
			return Vault{}, false, rbacMode(object, name)
		}
		return vaultOf(got.Vault), false, nil
	}
	if !absent(err) {
		return Vault{}, false, explain(err, object)
	}
	made, err := c.createVault(ctx, group, name, location, tenantID, armkeyvault.CreateModeDefault)
	if codeOf(err) == "ConflictError" {
		made, err = c.createVault(ctx, group, name, location, tenantID, armkeyvault.CreateModeRecover)
	}
	if err != nil {
		return Vault{}, false, explain(err, object)
	}
	return vaultOf(made), true, nil
}

func (c *Client) createVault(ctx context.Context, group, name, location, tenantID string, mode armkeyvault.CreateMode) (armkeyvault.Vault, error) {
	properties := &armkeyvault.VaultProperties{
		TenantID:   &tenantID,
		SKU:        &armkeyvault.SKU{Family: ref(armkeyvault.SKUFamilyA), Name: ref(armkeyvault.SKUNameStandard)},
		CreateMode: &mode,
	}
	if mode == armkeyvault.CreateModeDefault {
		// From api-version 2026-02-01 on, a vault is made in RBAC mode unless this is sent.
		properties.EnableRbacAuthorization = ref(false)
		properties.AccessPolicies = []*armkeyvault.AccessPolicyEntry{}
	}
	poller, err := c.vaults.BeginCreateOrUpdate(ctx, group, name, armkeyvault.VaultCreateOrUpdateParameters{Location: &location, Properties: properties}, nil)
	if err != nil {
		return armkeyvault.Vault{}, err
	}
	res, err := poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: pollEvery})
	return res.Vault, err
}

func vaultOf(v armkeyvault.Vault) Vault {
	p := deref(v.Properties)
	return Vault{ID: deref(v.ID), URL: strings.TrimSuffix(deref(p.VaultURI), "/"), TenantID: deref(p.TenantID)}
}

// EnsureAccess gives an object (an identity's PrincipalID, never its ClientID) at least the given permissions on the
// vault's keys, such as "get" and "decrypt". Permissions that it has besides stay.
func (c *Client) EnsureAccess(ctx context.Context, group, vault, tenantID, objectID string, permissions ...string) (changed bool, err error) {
	object := "key vault " + vault
	got, err := c.vaults.Get(ctx, group, vault, nil)
	if err != nil {
		return false, explain(err, object)
	}
	p := deref(got.Properties)
	if deref(p.EnableRbacAuthorization) {
		return false, rbacMode(object, vault)
	}
	if permits(p.AccessPolicies, tenantID, objectID, permissions) {
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
	if err != nil {
		return false, explain(err, object)
	}
	return true, nil
}

func permits(policies []*armkeyvault.AccessPolicyEntry, tenantID, objectID string, permissions []string) bool {
	var have []string
	for _, p := range policies {
		if p == nil || p.Permissions == nil || !strings.EqualFold(deref(p.ObjectID), objectID) || !strings.EqualFold(deref(p.TenantID), tenantID) {
			continue
		}
		for _, k := range p.Permissions.Keys {
			have = append(have, strings.ToLower(string(deref(k))))
		}
	}
	for _, want := range permissions {
		if !slices.Contains(have, strings.ToLower(want)) && !slices.Contains(have, "all") {
			return false
		}
	}
	return true
}

func rbacMode(object, name string) *fault.Fault {
	return &fault.Fault{
		Code: "SLU-ARM-010", Hop: fault.HopARM, Object: object,
		Seen: "the vault is in RBAC mode",
		Why:  "its access policies are ignored, and changing the mode takes away everybody's roles",
		Fix:  "az keyvault update -n " + name + " --enable-rbac-authorization false",
	}
}
