package keyvault

import (
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// find returns the live key and version that the request names.
func find(v *store.Vault, t target) (*store.Key, *store.KeyVersion, error) {
	if v != nil {
		if key := v.Key(t.name); key != nil {
			if version := key.Version(t.version); version != nil {
				return key, version, nil
			}
		}
	}
	return nil, nil, keyNotFound(t)
}

func (s *Service) getKey(r *request) (int, any, error) {
	key, version, err := find(r.vault, r.target)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, bundleOf(r.vault, key, version), nil
}

// updateKey changes attributes, operations or tags of one version; what the body leaves out stays.
func (s *Service) updateKey(r *request) (int, any, error) {
	var in keyRequest
	if err := wire.Decode(r.Request, &in); err != nil {
		return 0, nil, badParameter("The request body is not what a key update takes.")
	}
	if err := checkOps(in.Ops); err != nil {
		return 0, nil, err
	}
	var bundle keyBundle
	err := s.store.Update(func(state *store.State) error {
		v := state.Vault(r.vault.Name)
		key, version, err := find(v, r.target)
		if err != nil {
			return err
		}
		if in.Ops != nil {
			version.Ops = in.Ops
		}
		if in.Tags != nil {
			version.Tags = in.Tags
		}
		if in.Attributes.Enabled != nil {
			version.Enabled = *in.Attributes.Enabled
		}
		if in.Attributes.NotBefore != nil {
			version.NotBefore = in.Attributes.NotBefore
		}
		if in.Attributes.Expires != nil {
			version.Expires = in.Attributes.Expires
		}
		version.Updated = s.now().Unix()
		bundle = bundleOf(v, key, version)
		return nil
	})
	return http.StatusOK, bundle, err
}

// rotateKey makes a new version like the current one.
func (s *Service) rotateKey(r *request) (int, any, error) {
	if r.target.version != "" {
		return 0, nil, badParameter("A key is rotated as a whole, without a version.")
	}
	_, current, err := find(r.vault, r.target)
	if err != nil {
		return 0, nil, err
	}
	public, err := publicKey(current)
	if err != nil {
		return 0, nil, err
	}
	private, err := rsa.GenerateKey(rand.Reader, public.N.BitLen())
	if err != nil {
		return 0, nil, err
	}
	return s.add(r, Spec{Type: current.Type, Ops: current.Ops, Tags: current.Tags}, private)
}

func (s *Service) listKeys(r *request) (int, any, error) {
	var items []keyItem
	for _, name := range slices.Sorted(maps.Keys(r.vault.Keys)) {
		if key := r.vault.Keys[name]; key.Deleted == nil {
			items = append(items, itemOf(r.vault, key, keyURL(r.vault, key), key.Current()))
		}
	}
	return page(r, items)
}

func (s *Service) listVersions(r *request) (int, any, error) {
	key, _, err := find(r.vault, r.target)
	if err != nil {
		return 0, nil, err
	}
	var items []keyItem
	for _, version := range key.Versions {
		items = append(items, itemOf(r.vault, key, keyURL(r.vault, key)+"/"+version.ID, version))
	}
	return page(r, items)
}

const pageSize = 25 // Azure's default, and its most

// page cuts the part that the request asks for out of items and links to the next one.
func page(r *request, items []keyItem) (int, any, error) {
	query := r.URL.Query()
	size, start := pageSize, 0
	if most := query.Get("maxresults"); most != "" {
		n, err := strconv.Atoi(most)
		if err != nil || n < 1 || n > pageSize {
			return 0, nil, badParameter("maxresults must lie between 1 and %d.", pageSize)
		}
		size = n
	}
	if skip := query.Get("$skiptoken"); skip != "" {
		n, err := strconv.Atoi(skip)
		if err != nil || n < 0 || n > len(items) {
			return 0, nil, badParameter("The skip token is not valid.")
		}
		start = n
	}
	end := min(start+size, len(items))
	out := struct {
		Value []keyItem `json:"value"`
		Next  *string   `json:"nextLink"`
	}{Value: append([]keyItem{}, items[start:end]...)}
	if end < len(items) {
		next := vaultURL(r.vault) + r.URL.Path + "?" + url.Values{
			"api-version": {query.Get("api-version")}, "maxresults": {strconv.Itoa(size)}, "$skiptoken": {strconv.Itoa(end)},
		}.Encode()
		out.Next = &next
	}
	return http.StatusOK, out, nil
}
