package keyvault

import (
	"maps"
	"net/http"
	"slices"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
)

func (s *Service) routeDeleted(method string, t target) (string, handler) {
	switch method + " " + t.action {
	case "GET ":
		if t.name == "" {
			return "list-deleted", s.listDeleted
		}
		return "get-deleted", s.getDeleted
	case "POST recover":
		return "recover-key", s.recoverKey
	case "DELETE ":
		return "purge-key", s.purgeKey
	}
	return "", nil
}

// findDeleted returns the soft-deleted key that the request names.
func findDeleted(v *store.Vault, t target) (*store.Key, error) {
	if v != nil {
		if key := v.Keys[store.Fold(t.name)]; key != nil && key.Deleted != nil {
			return key, nil
		}
	}
	return nil, keyNotFound(t)
}

// deleteKey takes the whole key away, recoverably.
func (s *Service) deleteKey(r *request) (int, any, error) {
	if r.target.name == "" || r.target.version != "" {
		return 0, nil, badParameter("A key is deleted as a whole, without a version.")
	}
	var bundle keyBundle
	err := s.store.Update(func(state *store.State) error {
		v := state.Vault(r.vault.Name)
		key, _, err := find(v, r.target)
		if err != nil {
			return err
		}
		now := s.now().UTC()
		key.Deleted = &now
		bundle = bundleOf(v, key, key.Current())
		return nil
	})
	return http.StatusOK, bundle, err
}

func (s *Service) getDeleted(r *request) (int, any, error) {
	key, err := findDeleted(r.vault, r.target)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, bundleOf(r.vault, key, key.Current()), nil
}

func (s *Service) listDeleted(r *request) (int, any, error) {
	var items []keyItem
	for _, name := range slices.Sorted(maps.Keys(r.vault.Keys)) {
		if key := r.vault.Keys[name]; key.Deleted != nil {
			items = append(items, itemOf(r.vault, key, keyURL(r.vault, key), key.Current()))
		}
	}
	return page(r, items)
}

func (s *Service) recoverKey(r *request) (int, any, error) {
	var bundle keyBundle
	err := s.store.Update(func(state *store.State) error {
		v := state.Vault(r.vault.Name)
		key, err := findDeleted(v, r.target)
		if err != nil {
			return err
		}
		key.Deleted = nil
		bundle = bundleOf(v, key, key.Current())
		return nil
	})
	return http.StatusOK, bundle, err
}

// purgeKey ends a deleted key and its private halves for good.
func (s *Service) purgeKey(r *request) (int, any, error) {
	var gone []string
	err := s.store.Update(func(state *store.State) error {
		v := state.Vault(r.vault.Name)
		key, err := findDeleted(v, r.target)
		if err != nil {
			return err
		}
		if v.PurgeProtection {
			return refuse(http.StatusForbidden, "Forbidden", "", "Operation purge is not allowed: the key vault has purge protection.")
		}
		for _, version := range key.Versions {
			gone = append(gone, version.ID)
		}
		delete(v.Keys, store.Fold(r.target.name))
		return nil
	})
	if err == nil {
		s.store.DropPrivateKeys(gone...)
	}
	return http.StatusNoContent, nil, err
}
