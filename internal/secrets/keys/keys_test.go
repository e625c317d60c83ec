package keys

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// versions is a vault with one key; the last version is the newest.
type versions []struct {
	name string
	key  *rsa.PublicKey
}

func (v versions) PublicKey(_ context.Context, id keyvault.KeyID) (keyvault.KeyID, *rsa.PublicKey, error) {
	for i, k := range v {
		if k.name == id.Version || id.Version == "" && i == len(v)-1 {
			id.Version = k.name
			return id, k.key, nil
		}
	}
	return id, nil, os.ErrNotExist
}

func newKey(t *testing.T) *rsa.PublicKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &k.PublicKey
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

var base = keyvault.KeyID{Vault: "https://one.vault.azure.net", Name: "sops"}

func TestAStoredKeyIsTheOneThatWasFetched(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Folder)
	if got, err := Load(dir); err != nil || len(got) != 0 {
		t.Fatalf("a folder that isn't there: %v, %v", got, err)
	}
	one, two := newKey(t), newKey(t)
	vault := versions{{"v1", one}}
	k := must[Key](t)(Fetch(t.Context(), vault, base, time.Now()))
	path, changed, err := Save(dir, k)
	if err != nil || !changed || filepath.Base(path) != "one.vault.azure.net_sops_v1.json" {
		t.Fatalf("saved %s, %v, %v", path, changed, err)
	}
	if _, changed, err := Save(dir, k); err != nil || changed {
		t.Errorf("saved again: %v, %v", changed, err)
	}
	loaded := must[map[keyvault.KeyID]*rsa.PublicKey](t)(Load(dir))
	if got := loaded[keyvault.KeyID{Vault: base.Vault, Name: base.Name, Version: "v1"}]; got == nil || !got.Equal(one) {
		t.Errorf("loaded %v", loaded)
	}
	if dirFound, ok := Find(filepath.Join(filepath.Dir(filepath.Dir(dir)), "a", "b")); !ok || dirFound != dir {
		t.Errorf("found %s, %v", dirFound, ok)
	}

	// The same version with another key is not stored over the first.
	other := must[Key](t)(Fetch(t.Context(), versions{{"v1", two}}, base, time.Now()))
	if _, _, err := Save(dir, other); fault.From(err) == nil || fault.From(err).Code != "SLU-KEYS-002" {
		t.Errorf("another key under a stored version: %v", err)
	}
	// Nor is one loaded whose numbers somebody has exchanged.
	data := must[[]byte](t)(os.ReadFile(path))
	forged := strings.Replace(string(data), k.JWK.N, other.JWK.N, 1)
	if err := os.WriteFile(path, []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); fault.From(err) == nil || !strings.Contains(err.Error(), "thumbprint") {
		t.Errorf("a forged key: %v", err)
	}
}

func TestAStaleOrDifferentKeyIsNoticed(t *testing.T) {
	one, two := newKey(t), newKey(t)
	k := must[Key](t)(Fetch(t.Context(), versions{{"v1", one}}, base, time.Now()))
	for name, tt := range map[string]struct {
		now  versions
		want string
	}{
		"the same":       {versions{{"v1", one}}, ""},
		"rotated":        {versions{{"v1", one}, {"v2", two}}, "newest version is v2"},
		"another's keys": {versions{{"v1", two}}, "another key"},
	} {
		diff, err := Compare(t.Context(), tt.now, []Key{k})
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case tt.want == "" && len(diff) > 0, tt.want != "" && (len(diff) != 1 || !strings.Contains(diff[0].Seen, tt.want) || diff[0].Fix == ""):
			t.Errorf("%s: %+v", name, diff)
		}
	}
	second := must[Key](t)(Fetch(t.Context(), versions{{"v1", one}, {"v2", two}}, base, time.Now()))
	if diff, err := Compare(t.Context(), versions{{"v1", one}, {"v2", two}}, []Key{k, second}); err != nil || len(diff) > 0 {
		t.Errorf("an old version beside the newest: %v, %v", diff, err)
	}
}

// The example of RFC 7638, section 3.1.
func TestThumbprintsAreThoseOfTheStandard(t *testing.T) {
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	raw := must[[]byte](t)(base64.RawURLEncoding.DecodeString(n))
	if got := thumbprint(&rsa.PublicKey{N: new(big.Int).SetBytes(raw), E: 65537}); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("thumbprint %s", got)
	}
}
