// Package keys keeps the public halves of Key Vault keys in the repository, in .sluice/keys, so that files can be
// encrypted without a network and without any role in Azure.
//
// It stands beside the commands that encrypt. What it stores is public; what matters is that it is the right key: whoever
// can replace a stored key can read what is encrypted from then on. So every file carries the thumbprint of its key,
// which Load verifies, and Compare asks the vault whether the stored key is still the newest, and the vault's at all.
//
// It refuses keys of other kinds than RSA, files that name another key than their name says, and to overwrite a stored
// version with another key.
package keys

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// Folder is where the keys lie, relative to the root of the repository.
const Folder = ".sluice/keys"

// Key is a stored key, and the file's form: JSON, whose fields are only added to.
type Key struct {
	ID         string    `json:"kid"` // the key's URL with its version
	Version    string    `json:"version"`
	JWK        JWK       `json:"jwk"`
	Thumbprint string    `json:"thumbprint"` // RFC 7638, SHA-256, base64url
	Fetched    time.Time `json:"fetched"`

	id  keyvault.KeyID
	pub *rsa.PublicKey
}

// JWK is the public key as RFC 7517 writes it.
type JWK struct {
	Kty string `json:"kty"`
	N   string `json:"n"`
	E   string `json:"e"`
}

// Vault gives public keys; *keyvault.Client is one.
type Vault interface {
	PublicKey(ctx context.Context, id keyvault.KeyID) (keyvault.KeyID, *rsa.PublicKey, error)
}

// KeyID is the key's id, with its version.
func (k Key) KeyID() keyvault.KeyID { return k.id }

// Find returns the folder of keys in the folder start or above it: the nearest one there is.
func Find(start string) (dir string, ok bool) {
	at, err := filepath.Abs(start)
	if err != nil {
		return "", false
	}
	for {
		dir = filepath.Join(at, filepath.FromSlash(Folder))
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir, true
		}
		up := filepath.Dir(at)
		if up == at {
			return "", false
		}
		at = up
	}
}

// Load returns the public keys of a folder by id, with the version. A folder that isn't there holds none.
func Load(dir string) (map[keyvault.KeyID]*rsa.PublicKey, error) {
	list, err := List(dir)
	out := make(map[keyvault.KeyID]*rsa.PublicKey, len(list))
	for _, k := range list {
		out[k.id] = k.pub
	}
	return out, err
}

// List returns the keys of a folder by URL, the one that was fetched last first where there are several versions.
func List(dir string) ([]Key, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Key
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") || !e.Type().IsRegular() {
			continue
		}
		k, err := read(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b Key) int {
		if a.id.Vault != b.id.Vault || a.id.Name != b.id.Name {
			return strings.Compare(a.id.Vault+a.id.Name, b.id.Vault+b.id.Name)
		}
		return b.Fetched.Compare(a.Fetched)
	})
	return out, nil
}

func read(path string) (Key, error) {
	var k Key
	data, err := os.ReadFile(path)
	if err != nil {
		return k, err
	}
	refuse := func(seen, why string) (Key, error) {
		return k, &fault.Fault{Code: "SLU-KEYS-001", Hop: fault.HopKey, File: path, Seen: seen, Why: why,
			Fix: fmt.Sprintf("rm '%s' && sluice secrets keys fetch <key URL>", path)}
	}
	if err := json.Unmarshal(data, &k); err != nil {
		return refuse("the stored key is not valid JSON", "it was changed by hand, or a merge left its marks")
	}
	if k.id, err = keyvault.ParseKeyID(k.ID); err != nil || k.id.Version == "" || k.id.Version != k.Version {
		return refuse("the stored key has no key URL with its version", "kid and version don't name one version of a Key Vault key")
	}
	raw, err := json.Marshal(k.JWK)
	if err != nil {
		return refuse("the stored key is no RSA key", "")
	}
	if k.pub, err = keyvault.PublicKeyFromJWK(raw); err != nil {
		return refuse("the stored key is no RSA key", err.Error())
	}
	if k.Thumbprint != thumbprint(k.pub) || filepath.Base(path) != k.fileName() {
		return refuse("the stored key is not the one that was fetched", "its thumbprint, or the file's name, belongs to another key; what is encrypted with it, another one might read")
	}
	return k, nil
}

// Fetch asks the vault for a key, the newest version if id has none.
func Fetch(ctx context.Context, v Vault, id keyvault.KeyID, now time.Time) (Key, error) {
	id, pub, err := v.PublicKey(ctx, id)
	if err != nil {
		return Key{}, err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return Key{
		ID: id.String(), Version: id.Version, Thumbprint: thumbprint(pub), Fetched: now.UTC().Truncate(time.Second),
		JWK: JWK{Kty: "RSA", N: b64(pub.N.Bytes()), E: b64(big.NewInt(int64(pub.E)).Bytes())}, id: id, pub: pub,
	}, nil
}

// Save stores a key, and says whether that changed anything: a version that is stored already stays as it is. Another
// key under a version that is stored is a fault, because a version never changes.
func Save(dir string, k Key) (path string, changed bool, err error) {
	path = filepath.Join(dir, k.fileName())
	switch have, err := read(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return path, false, err
	case have.Thumbprint != k.Thumbprint:
		return path, false, &fault.Fault{Code: "SLU-KEYS-002", Hop: fault.HopKey, File: path,
			Seen: "the vault has another key under this version than the stored one", Why: "a version of a key never changes: the stored file was replaced, or another vault answers under this name",
			Fix: "find out which of the two is right before anything is encrypted; git log -- '" + path + "' says who stored it"}
	default:
		return path, false, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return path, false, err
	}
	data, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return path, false, err
	}
	return path, true, replace(path, append(data, '\n'))
}

// replace writes a file whole or not at all.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".sluice-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone by then if all went well
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Difference is a stored key that is not what the vault has now.
type Difference struct {
	Key  Key
	Seen string
	Why  string
	Fix  string
}

// Compare asks the vault about each stored key: whether it is the newest version of which there is one in store, and
// whether the vault has the same key under that version. Errors are the vault's.
func Compare(ctx context.Context, v Vault, stored []Key) ([]Difference, error) {
	var out []Difference
	newest := map[keyvault.KeyID]string{}
	have := map[keyvault.KeyID]bool{}
	for _, k := range stored {
		have[k.id] = true
	}
	for _, k := range stored {
		_, pub, err := v.PublicKey(ctx, k.id)
		if err != nil {
			return nil, err
		}
		if thumbprint(pub) != k.Thumbprint {
			out = append(out, Difference{k, "the vault has another key under this version", "a version of a key never changes: the stored file was replaced, or another vault answers under this name",
				"git log -- " + Folder + " says who stored it"})
			continue
		}
		base := keyvault.KeyID{Vault: k.id.Vault, Name: k.id.Name}
		if newest[base] == "" {
			id, _, err := v.PublicKey(ctx, base)
			if err != nil {
				return nil, err
			}
			newest[base] = id.Version
		}
		if n := newest[base]; n != k.id.Version && !have[keyvault.KeyID{Vault: base.Vault, Name: base.Name, Version: n}] {
			out = append(out, Difference{k, "the key was rotated: the newest version is " + n, "what is encrypted with the stored one has to be wrapped again once it expires", "sluice secrets keys fetch " + base.String()})
		}
	}
	return out, nil
}

// fileName is made of what ParseKeyID lets through: letters, digits, hyphens, and the host's dots.
func (k Key) fileName() string {
	host := strings.TrimPrefix(strings.ToLower(k.id.Vault), "https://")
	host, _, _ = strings.Cut(strings.NewReplacer(":", "_", "/", "_").Replace(host), "..")
	return host + "_" + k.id.Name + "_" + k.id.Version + ".json"
}

// thumbprint is that of RFC 7638: SHA-256 over the required members in the order of their names.
func thumbprint(pub *rsa.PublicKey) string {
	b64 := base64.RawURLEncoding.EncodeToString
	sum := sha256.Sum256(fmt.Appendf(nil, `{"e":"%s","kty":"RSA","n":"%s"}`, b64(big.NewInt(int64(pub.E)).Bytes()), b64(pub.N.Bytes())))
	return b64(sum[:])
}
