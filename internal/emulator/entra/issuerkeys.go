package entra

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"
)

// Fetch gets a public document by its https URL.
type Fetch func(ctx context.Context, url string) ([]byte, error)

// keysFresh is how long an issuer's keys are taken from memory. A kid that isn't among them is looked for again at once,
// so a rotation never waits; only a key's withdrawal takes this long.
const keysFresh = time.Minute

// issuerKeys finds the keys that token issuers publish, by OpenID discovery.
type issuerKeys struct {
	fetch Fetch
	now   func() time.Time

	mu    sync.Mutex
	known map[string]issuerSet // by issuer
}

type issuerSet struct {
	keys    map[string]*rsa.PublicKey // by kid
	fetched time.Time
}

func newIssuerKeys(fetch Fetch, now func() time.Time) *issuerKeys {
	return &issuerKeys{fetch: fetch, now: now, known: map[string]issuerSet{}}
}

// errNoKey says that the issuer answers, but publishes no key of that kid.
var errNoKey = errors.New("no such key")

func (k *issuerKeys) key(ctx context.Context, issuer, kid string) (*rsa.PublicKey, error) {
	k.mu.Lock()
	set, known := k.known[issuer]
	k.mu.Unlock()
	age := k.now().Sub(set.fetched)
	if key := set.keys[kid]; known && key != nil && age >= 0 && age < keysFresh {
		return key, nil
	}
	keys, err := k.discover(ctx, issuer)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	k.known[issuer] = issuerSet{keys, k.now()}
	k.mu.Unlock()
	if key := keys[kid]; key != nil {
		return key, nil
	}
	return nil, errNoKey
}

func (k *issuerKeys) discover(ctx context.Context, issuer string) (map[string]*rsa.PublicKey, error) {
	url := strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	data, err := k.fetch(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	var metadata struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(data, &metadata); err != nil {
		return nil, fmt.Errorf("%s is not a discovery document", url)
	}
	if metadata.Issuer != issuer {
		return nil, fmt.Errorf("%s names another issuer, '%s'", url, clip(metadata.Issuer))
	}
	if data, err = k.fetch(ctx, metadata.Keys); err != nil {
		return nil, fmt.Errorf("%s: %w", metadata.Keys, err)
	}
	keys, err := parseJWKS(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", metadata.Keys, err)
	}
	return keys, nil
}

// parseJWKS reads the RSA signing keys of a key set (RFC 7517) and leaves other kinds out.
func parseJWKS(data []byte) (map[string]*rsa.PublicKey, error) {
	var set struct {
		Keys []struct {
			Kty string `json:"kty"`
			Use string `json:"use"`
			Kid string `json:"kid"`
			N   string `json:"n"`
			E   string `json:"e"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, errors.New("not a JSON web key set")
	}
	keys := map[string]*rsa.PublicKey{}
	for _, jwk := range set.Keys {
		if jwk.Kty != "RSA" || jwk.Use != "" && jwk.Use != "sig" {
			continue
		}
		n, errN := base64.RawURLEncoding.DecodeString(jwk.N)
		e, errE := base64.RawURLEncoding.DecodeString(jwk.E)
		modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
		if errN != nil || errE != nil || modulus.BitLen() < 1024 || exponent.BitLen() > 31 || exponent.Int64() < 2 {
			return nil, fmt.Errorf("the key '%s' is not a usable RSA key", clip(jwk.Kid))
		}
		keys[jwk.Kid] = &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}
	}
	return keys, nil
}
