package arm

import (
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/keyvault"
	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

const (
	defaultRetention = 90 // days, and the most
	leastRetention   = 7

	// rbacByDefault is the first api-version whose vaults use role assignments unless told otherwise.
	rbacByDefault = "2026-02-01"
)

var (
	vaultName = lazyregexp.New(`^[a-zA-Z][a-zA-Z0-9-]{1,22}[a-zA-Z0-9]$`)
	guid      = lazyregexp.New(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
)

type vaultRequest struct {
	resourceRequest
	Properties struct {
		TenantID string `json:"tenantId"`
		SKU      *struct {
			Name string `json:"name"`
		} `json:"sku"`
		AccessPolicies  *[]store.Policy `json:"accessPolicies"`
		RBAC            *bool           `json:"enableRbacAuthorization"`
		PurgeProtection *bool           `json:"enablePurgeProtection"`
		RetentionDays   *int            `json:"softDeleteRetentionInDays"`
		CreateMode      string          `json:"createMode"`
	} `json:"properties"`
}

func vaultBody(state *store.State, v *store.Vault) map[string]any {
	properties := map[string]any{
		"tenantId": v.TenantID, "sku": map[string]string{"family": "A", "name": v.SKU},
		"accessPolicies": policyBodies(v.Policies), "enableRbacAuthorization": v.RBAC,
		"enableSoftDelete": true, "softDeleteRetentionInDays": v.RetentionDays,
		"enabledForDeployment": false, "enabledForDiskEncryption": false, "enabledForTemplateDeployment": false,
		"vaultUri": "https://" + store.Fold(v.Name) + "." + keyvault.Domain + "/", "provisioningState": stateOf(v.Pending),
		"publicNetworkAccess": "Enabled",
	}
	if v.PurgeProtection {
		properties["enablePurgeProtection"] = true
	}
	return resource(state, v.Group, vaultType, v.Name, v.Location, v.Tags, properties)
}

// vault returns the live vault that the path names.
func (r *request) vault(state *store.State) (*store.Vault, error) {
	g, err := r.group(state)
	if err != nil {
		return nil, err
	}
	if v := state.Vault(r.vars["vault"]); v != nil && strings.EqualFold(v.Group, g.Name) {
		return v, nil
	}
	return nil, notFound(vaultType, r.vars["vault"], g.Name)
}

func (s *Service) listVaults(r *request) (answer, error) {
	live := maps.Clone(r.state.Vaults)
	maps.DeleteFunc(live, func(_ string, v *store.Vault) bool { return v.Deleted != nil })
	return listed(r, live, func(v *store.Vault) string { return v.Group }, vaultBody)
}

func (s *Service) getVault(r *request) (answer, error) {
	v, err := r.vault(r.state)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: http.StatusOK, body: vaultBody(r.state, v)}
	if left := time.Until(v.Pending.Until); left > 0 {
		a.header = pace(left)
	}
	return a, nil
}

// putVault creates, replaces or recovers a vault.
func (s *Service) putVault(r *request) (answer, error) {
	var in vaultRequest
	if err := r.decode(&in); err != nil {
		return answer{}, err
	}
	if err := in.needLocation(); err != nil {
		return answer{}, err
	}
	out := answer{status: http.StatusOK}
	err := s.store.Update(func(state *store.State) error {
		g, err := r.group(state)
		if err != nil {
			return err
		}
		v, err := s.place(state, g, r.vars["vault"], &in)
		if err != nil {
			return err
		}
		if v.Created.IsZero() {
			v.Created = s.now().UTC()
			v.RBAC = r.URL.Query().Get("api-version") >= rbacByDefault
			out.status = http.StatusCreated
			if s.pace.Vault > 0 {
				v.Pending = store.Pending{State: "RegisteringDns", Until: time.Now().Add(s.pace.Vault)}
				out.header = pace(s.pace.Vault)
			}
		}
		if in.Properties.CreateMode != "recover" {
			if err := in.apply(v, true); err != nil {
				return err
			}
		}
		out.body = vaultBody(state, v)
		return nil
	})
	return out, err
}

// place finds the vault to write, or makes its place. Names are global, and kept by deleted vaults.
func (s *Service) place(state *store.State, g *store.Group, name string, in *vaultRequest) (*store.Vault, error) {
	recover := in.Properties.CreateMode == "recover"
	v := state.Vaults[store.Fold(name)]
	switch {
	case !vaultName.MatchString(name) || strings.Contains(name, "--"):
		return nil, fail(http.StatusBadRequest, "VaultNameNotValid", "The vault name '%s' is invalid. A vault's name must be between 3-24 alphanumeric characters or hyphens, begin with a letter, end with a letter or digit, and not contain consecutive hyphens.", name)
	case v == nil && recover:
		return nil, fail(http.StatusNotFound, "DeletedVaultNotFound", "There is no deleted vault '%s' to recover.", name)
	case v == nil:
		v = &store.Vault{Group: g.Name, Name: name, Location: in.Location, RetentionDays: defaultRetention, Keys: map[string]*store.Key{}}
		state.Vaults[store.Fold(name)] = v
	case v.Deleted != nil && recover && strings.EqualFold(v.Group, g.Name):
		v.Deleted = nil
	case v.Deleted != nil:
		return nil, fail(http.StatusConflict, "ConflictError", "A vault with the same name already exists in deleted state. You need to either recover or purge existing key vault.")
	case !strings.EqualFold(v.Group, g.Name):
		return nil, fail(http.StatusConflict, "VaultAlreadyExists", "The vault name '%s' is already in use. Vault names are globally unique so it is possible that the name is already taken.", name)
	}
	return v, nil
}

// apply writes what in says into v; whole for PUT, which must name tenant and SKU.
func (in *vaultRequest) apply(v *store.Vault, whole bool) error {
	p := in.Properties
	switch {
	case (whole || p.TenantID != "") && !guid.MatchString(p.TenantID):
		return fail(http.StatusBadRequest, "BadRequest", "The parameter tenantId is missing or is not a GUID.")
	case whole && p.SKU == nil, p.SKU != nil && p.SKU.Name != "standard" && p.SKU.Name != "premium":
		return fail(http.StatusBadRequest, "BadRequest", "The parameter sku is missing or is neither standard nor premium.")
	case p.RetentionDays != nil && (*p.RetentionDays < leastRetention || *p.RetentionDays > defaultRetention):
		return fail(http.StatusBadRequest, "BadRequest", "softDeleteRetentionInDays must lie between %d and %d.", leastRetention, defaultRetention)
	case p.PurgeProtection != nil && !*p.PurgeProtection && v.PurgeProtection:
		return fail(http.StatusBadRequest, "BadRequest", "The property enablePurgeProtection cannot be set to false once it is on.")
	}
	if p.TenantID != "" {
		v.TenantID = strings.ToLower(p.TenantID)
	}
	if p.SKU != nil {
		v.SKU = p.SKU.Name
	}
	if p.AccessPolicies != nil {
		if err := checkPolicies(*p.AccessPolicies); err != nil {
			return err
		}
		v.Policies = *p.AccessPolicies
	}
	if p.RBAC != nil {
		v.RBAC = *p.RBAC
	}
	if p.PurgeProtection != nil {
		v.PurgeProtection = *p.PurgeProtection
	}
	if p.RetentionDays != nil {
		v.RetentionDays = *p.RetentionDays
	}
	if whole || in.Tags != nil {
		v.Tags = in.Tags
	}
	return nil
}

func (s *Service) patchVault(r *request) (answer, error) {
	var in vaultRequest
	if err := r.decode(&in); err != nil {
		return answer{}, err
	}
	out := answer{status: http.StatusOK}
	err := s.store.Update(func(state *store.State) error {
		v, err := r.vault(state)
		if err == nil {
			err = in.apply(v, false)
		}
		if err == nil {
			out.body = vaultBody(state, v)
		}
		return err
	})
	return out, err
}

func (s *Service) deleteVault(r *request) (answer, error) {
	out := answer{status: http.StatusOK}
	err := s.store.Update(func(state *store.State) error {
		if _, err := r.group(state); err != nil {
			return err
		}
		v, err := r.vault(state)
		if err != nil {
			out.status = http.StatusNoContent
			return nil
		}
		softDelete(v, s.now())
		return nil
	})
	return out, err
}
