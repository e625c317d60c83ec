package arm

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
)

func deletedVaultBody(state *store.State, v *store.Vault) any {
	return map[string]any{
		"id":   "/subscriptions/" + state.Subscription + "/providers/Microsoft.KeyVault/locations/" + v.Location + "/deletedVaults/" + v.Name,
		"name": v.Name, "type": "Microsoft.KeyVault/deletedVaults",
		"properties": map[string]any{
			"vaultId": resourceID(state, v.Group, vaultType, v.Name), "location": v.Location, "tags": v.Tags,
			"deletionDate":           v.Deleted.Format(time.RFC3339),
			"scheduledPurgeDate":     v.Deleted.AddDate(0, 0, v.RetentionDays).Format(time.RFC3339),
			"purgeProtectionEnabled": v.PurgeProtection,
		},
	}
}

// deletedVault returns the soft-deleted vault that the path names.
func (r *request) deletedVault(state *store.State) (*store.Vault, error) {
	v := state.Vaults[store.Fold(r.vars["vault"])]
	if v == nil || v.Deleted == nil || !strings.EqualFold(v.Location, r.vars["location"]) {
		return nil, fail(http.StatusNotFound, "DeletedVaultNotFound", "The specified deleted vault '%s' does not exist.", r.vars["vault"])
	}
	return v, nil
}

func (s *Service) listDeletedVaults(r *request) (answer, error) {
	var items []any
	for _, key := range slices.Sorted(maps.Keys(r.state.Vaults)) {
		if v := r.state.Vaults[key]; v.Deleted != nil {
			items = append(items, deletedVaultBody(r.state, v))
		}
	}
	return okList(items)
}

func (s *Service) getDeletedVault(r *request) (answer, error) {
	v, err := r.deletedVault(r.state)
	if err != nil {
		return answer{}, err
	}
	return ok(deletedVaultBody(r.state, v))
}

// purgeVault ends a deleted vault and all its keys for good.
func (s *Service) purgeVault(r *request) (answer, error) {
	var gone []string
	out := answer{status: http.StatusOK}
	err := s.store.Update(func(state *store.State) error {
		v, err := r.deletedVault(state)
		if err != nil {
			return err
		}
		if v.PurgeProtection {
			return fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "Operation 'DeletedVaultPurge' is not allowed: the vault has purge protection.")
		}
		for _, key := range v.Keys {
			for _, version := range key.Versions {
				gone = append(gone, version.ID)
			}
		}
		delete(state.Vaults, store.Fold(v.Name))
		if s.pace.Purge > 0 {
			out.status = http.StatusAccepted
			out.header = r.following(state, "Microsoft.KeyVault", begin(state, time.Now(), s.pace.Purge, nil), s.pace.Purge, true)
			out.header.Del("Azure-AsyncOperation") // Key Vault names the Location alone
		}
		return nil
	})
	if err == nil {
		s.store.DropPrivateKeys(gone...)
	}
	return out, err
}

func (s *Service) checkVaultName(r *request) (answer, error) {
	var in struct {
		Name string `json:"name"`
	}
	if err := r.decode(&in); err != nil {
		return answer{}, err
	}
	switch {
	case !vaultName.MatchString(in.Name) || strings.Contains(in.Name, "--"):
		return ok(map[string]any{"nameAvailable": false, "reason": "AccountNameInvalid", "message": "The vault name is invalid."})
	case r.state.Vaults[store.Fold(in.Name)] != nil:
		return ok(map[string]any{"nameAvailable": false, "reason": "AlreadyExists", "message": "The vault name is already in use."})
	}
	return ok(map[string]any{"nameAvailable": true})
}
