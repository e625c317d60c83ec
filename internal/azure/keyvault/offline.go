package keyvault

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
)

// WrapOffline encrypts a data key with the public half of a Key Vault RSA key, byte for byte what the vault's encrypt
// operation with RSA-OAEP-256 would give: SHA-256 for hash and mask, no label. It needs no network and no permission.
// dataKey may have at most the modulus's length less 66 bytes (190 for RSA-2048).
func WrapOffline(pub *rsa.PublicKey, dataKey []byte) ([]byte, error) {
	return rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, dataKey, nil)
}

// PublicKeyFromJWK reads an RSA public key from a JSON Web Key, or from a key bundle that holds one under "key", as
// `az keyvault key show` prints it.
func PublicKeyFromJWK(raw []byte) (*rsa.PublicKey, error) {
	type jwk struct {
		Kty string `json:"kty"`
		N   string `json:"n"`
		E   string `json:"e"`
	}
	var doc struct {
		jwk
		Key *jwk `json:"key"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, errors.New("not a JSON Web Key: invalid JSON")
	}
	key := doc.jwk
	if doc.Key != nil {
		key = *doc.Key
	}
	if key.Kty != "RSA" && key.Kty != "RSA-HSM" {
		return nil, errors.New("not an RSA key: kty is " + key.Kty)
	}
	n, err := decodeJWKNumber(key.N)
	if err != nil {
		return nil, errors.New("the JSON Web Key's n is not base64")
	}
	e, err := decodeJWKNumber(key.E)
	if err != nil || !e.IsInt64() || e.Int64() > 1<<31-1 || e.Int64() < 3 {
		return nil, errors.New("the JSON Web Key's e is not a public exponent")
	}
	if n.BitLen() < 2048 {
		return nil, errors.New("the RSA key has fewer than 2048 bits")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

// decodeJWKNumber accepts base64url as the standard asks, and the plain base64 that az prints.
func decodeJWKNumber(s string) (*big.Int, error) {
	b, err := DecodeEnc(s)
	if err != nil {
		if b, err = base64.StdEncoding.DecodeString(s); err != nil {
			return nil, err
		}
	}
	return new(big.Int).SetBytes(b), nil
}
