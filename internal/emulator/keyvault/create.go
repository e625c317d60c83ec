package keyvault

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"net/http"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// Spec describes a key to make, as both planes' callers do.
type Spec struct {
	Type      string // RSA, or RSA-HSM in a premium vault
	Bits      int    // 0: 2048
	Ops       []string
	Enabled   *bool
	NotBefore *int64
	Expires   *int64
	Tags      map[string]string
}

type keyRequest struct {
	Kty        string            `json:"kty"`
	Bits       int               `json:"key_size"`
	Ops        []string          `json:"key_ops"`
	Attributes keyAttributes     `json:"attributes"`
	Tags       map[string]string `json:"tags"`
}

type keyAttributes struct {
	Enabled   *bool  `json:"enabled"`
	NotBefore *int64 `json:"nbf"`
	Expires   *int64 `json:"exp"`
}

// allOps are the operations of an RSA key, and what a key made without a choice gets.
var allOps = []string{"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"}

// createKey makes a key, or a new version of it when there is one.
func (s *Service) createKey(r *request) (int, any, error) {
	var in keyRequest
	if err := wire.Decode(r.Request, &in); err != nil {
		return 0, nil, badParameter("The request body is not what key creation takes.")
	}
	spec := Spec{
		Type: in.Kty, Bits: in.Bits, Ops: in.Ops, Tags: in.Tags,
		Enabled: in.Attributes.Enabled, NotBefore: in.Attributes.NotBefore, Expires: in.Attributes.Expires,
	}
	private, err := generate(r.vault, &spec)
	if err != nil {
		return 0, nil, err
	}
	return s.add(r, spec, private)
}

// generate checks spec, fills in its defaults and makes the key pair.
func generate(v *store.Vault, spec *Spec) (*rsa.PrivateKey, error) {
	if err := check(v, spec); err != nil {
		return nil, err
	}
	if spec.Bits == 0 {
		spec.Bits = 2048
	}
	if !slices.Contains([]int{2048, 3072, 4096}, spec.Bits) {
		return nil, badParameter("The RSA key size %d is not supported; use 2048, 3072 or 4096.", spec.Bits)
	}
	return rsa.GenerateKey(rand.Reader, spec.Bits)
}

func check(v *store.Vault, spec *Spec) error {
	switch {
	case spec.Type == "RSA":
	case spec.Type == "RSA-HSM" && v.SKU == "premium":
	case spec.Type == "RSA-HSM":
		return badParameter("Keys of type RSA-HSM need a vault of the premium SKU.")
	default:
		return badParameter("The key type '%s' is not supported here; the emulator has RSA keys only.", spec.Type)
	}
	if spec.Ops == nil {
		spec.Ops = allOps
	}
	return checkOps(spec.Ops)
}

func checkOps(ops []string) error {
	for _, op := range ops {
		if !slices.Contains(allOps, op) && op != "import" && op != "export" {
			return badParameter("The key operation '%s' is unknown.", op)
		}
	}
	return nil
}

// add keeps private as the newest version of the named key.
func (s *Service) add(r *request, spec Spec, private *rsa.PrivateKey) (int, any, error) {
	version := s.newVersion(spec, private)
	var bundle keyBundle
	err := s.keep(version.ID, private, func(state *store.State) error {
		v := state.Vault(r.vault.Name)
		if v == nil {
			return keyNotFound(r.target)
		}
		key, err := put(v, r.target.name, version)
		if err == nil {
			bundle = bundleOf(v, key, version)
		}
		return err
	})
	return http.StatusOK, bundle, err
}

// put adds version to the vault's key of that name, which it makes when there is none.
func put(v *store.Vault, name string, version *store.KeyVersion) (*store.Key, error) {
	key := v.Keys[store.Fold(name)]
	if key == nil {
		key = &store.Key{Name: name}
		v.Keys[store.Fold(name)] = key
	}
	if key.Deleted != nil {
		return nil, deletedButRecoverable(key.Name)
	}
	key.Versions = append(key.Versions, version)
	return key, nil
}

// keep writes the private key, then the state that names it; without the second the first is dropped again.
func (s *Service) keep(id string, private *rsa.PrivateKey, change func(*store.State) error) error {
	if err := s.store.PutPrivateKey(id, private); err != nil {
		return err
	}
	err := s.store.Update(change)
	if err != nil {
		s.store.DropPrivateKeys(id)
	}
	return err
}

func (s *Service) newVersion(spec Spec, private *rsa.PrivateKey) *store.KeyVersion {
	now := s.now().Unix()
	return &store.KeyVersion{
		ID: strings.ReplaceAll(wire.NewID(), "-", ""), Type: spec.Type, Ops: spec.Ops,
		Enabled: spec.Enabled == nil || *spec.Enabled, NotBefore: spec.NotBefore, Expires: spec.Expires,
		Created: now, Updated: now, Tags: spec.Tags,
		N: base64.RawURLEncoding.EncodeToString(private.N.Bytes()),
		E: base64.RawURLEncoding.EncodeToString(big.NewInt(int64(private.E)).Bytes()),
	}
}

// CreateFirst makes the first version of a key for the management plane, which never adds a second: a key that exists
// is returned as it is. It returns the key and the vault as they then stand.
func (s *Service) CreateFirst(vault, name string, spec Spec) (*store.Vault, *store.Key, error) {
	v := s.store.State().Vault(vault)
	if v == nil {
		return nil, nil, refuse(http.StatusNotFound, "VaultNotFound", "", "There is no key vault named '%s'.", vault)
	}
	if !keyName.MatchString(name) {
		return nil, nil, badParameter("The key name '%s' is not valid.", name)
	}
	if key := v.Key(name); key != nil {
		return v, key, nil
	}
	private, err := generate(v, &spec)
	if err != nil {
		return nil, nil, err
	}
	version := s.newVersion(spec, private)
	err = s.keep(version.ID, private, func(state *store.State) error {
		v := state.Vault(vault)
		if v == nil {
			return refuse(http.StatusNotFound, "VaultNotFound", "", "There is no key vault named '%s'.", vault)
		}
		if v.Key(name) != nil {
			return errExists // another request was first; its version stands
		}
		_, err := put(v, name, version)
		return err
	})
	if err != nil && err != errExists {
		return nil, nil, err
	}
	v = s.store.State().Vault(vault)
	if v == nil || v.Key(name) == nil {
		return nil, nil, keyNotFound(target{name: name})
	}
	return v, v.Key(name), nil
}

var errExists = refuse(http.StatusConflict, "Conflict", "", "The key exists.")
