package arm

import (
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/sluice-gitops/sluice/internal/emulator/keyvault"
	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

type vaultKeyRequest struct {
	Tags       map[string]string `json:"tags"`
	Properties struct {
		Kty        string   `json:"kty"`
		Size       int      `json:"keySize"`
		Ops        []string `json:"keyOps"`
		Attributes struct {
			Enabled   *bool  `json:"enabled"`
			NotBefore *int64 `json:"nbf"`
			Expires   *int64 `json:"exp"`
		} `json:"attributes"`
	} `json:"properties"`
}

func vaultKeyBody(state *store.State, v *store.Vault, k *store.Key) any {
	uri := "https://" + store.Fold(v.Name) + "." + keyvault.Domain + "/keys/" + k.Name
	current := k.Current()
	return map[string]any{
		"id": resourceID(state, v.Group, vaultType, v.Name) + "/keys/" + k.Name, "name": k.Name, "type": vaultType + "/keys",
		"location": v.Location, "tags": current.Tags,
		"properties": map[string]any{
			"kty": current.Type, "keyOps": current.Ops, "keyUri": uri, "keyUriWithVersion": uri + "/" + current.ID,
			"attributes": map[string]any{
				"enabled": current.Enabled, "created": current.Created, "updated": current.Updated,
				"nbf": current.NotBefore, "exp": current.Expires,
			},
		},
	}
}

// putVaultKey makes a key's first version. This plane never rotates: a key that exists is answered as it is.
func (s *Service) putVaultKey(r *request) (answer, error) {
	var in vaultKeyRequest
	if err := r.decode(&in); err != nil {
		return answer{}, err
	}
	v, err := r.vault(r.state)
	if err != nil {
		return answer{}, err
	}
	p := in.Properties
	v, key, err := s.keys.CreateFirst(v.Name, r.vars["key"], keyvault.Spec{
		Type: p.Kty, Bits: p.Size, Ops: p.Ops, Tags: in.Tags,
		Enabled: p.Attributes.Enabled, NotBefore: p.Attributes.NotBefore, Expires: p.Attributes.Expires,
	})
	var refused *wire.Failure
	if errors.As(err, &refused) && refused.Status == http.StatusBadRequest {
		return answer{}, fail(http.StatusBadRequest, "BadRequest", "%s", refused.Message)
	}
	if err != nil {
		return answer{}, err
	}
	return ok(vaultKeyBody(r.state, v, key))
}

func (s *Service) getVaultKey(r *request) (answer, error) {
	v, err := r.vault(r.state)
	if err != nil {
		return answer{}, err
	}
	key := v.Key(r.vars["key"])
	if key == nil {
		return answer{}, fail(http.StatusNotFound, "KeyNotFound", "The key '%s' was not found in the vault '%s'.", r.vars["key"], v.Name)
	}
	return ok(vaultKeyBody(r.state, v, key))
}

func (s *Service) listVaultKeys(r *request) (answer, error) {
	v, err := r.vault(r.state)
	if err != nil {
		return answer{}, err
	}
	var items []any
	for _, name := range slices.Sorted(maps.Keys(v.Keys)) {
		if key := v.Keys[name]; key.Deleted == nil {
			items = append(items, vaultKeyBody(r.state, v, key))
		}
	}
	return okList(items)
}
