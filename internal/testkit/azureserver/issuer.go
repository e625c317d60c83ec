package azureserver

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

// keyID is the kid of the key that signs tokens.
const keyID = "k1"

// Issuer stands for the cluster's API server where Azure sees it: it publishes the key that verifies service-account
// tokens, and signs them.
type Issuer struct {
	URL string // what tokens have as iss; the trailing slash is part of it
	Key *rsa.PrivateKey
}

// Issuer makes one with a new key and lets the emulator serve what it publishes.
func (s *Server) Issuer(t testing.TB) *Issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &Issuer{URL: s.Env().IssuerURL, Key: key}
	s.SetIssuerBackend(i.Documents)
	return i
}

// Documents answers as an API server does: the key's address is one that only its own network knows.
func (i *Issuer) Documents(_ context.Context, path string) ([]byte, error) {
	b64 := base64.RawURLEncoding.EncodeToString
	switch path {
	case "/.well-known/openid-configuration":
		return json.Marshal(map[string]any{
			"issuer": i.URL, "jwks_uri": "https://10.0.0.1:6443/openid/v1/jwks", "response_types_supported": []string{"id_token"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		})
	case "/openid/v1/jwks":
		return json.Marshal(map[string]any{"keys": []any{map[string]string{
			"use": "sig", "kty": "RSA", "kid": keyID, "alg": "RS256",
			"n": b64(i.Key.N.Bytes()), "e": b64(big.NewInt(int64(i.Key.E)).Bytes()),
		}}})
	}
	return nil, fmt.Errorf("the API server has no %s", path)
}

// Sign makes a token of claims.
func (i *Issuer) Sign(claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64([]byte(`{"alg":"RS256","kid":"`+keyID+`"}`)) + "." + b64(payload)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.Key, crypto.SHA256, digest[:])
	return text + "." + b64(signature), err
}

// Resign gives a token of another issuer, such as the one of a test's API server, this one's iss and signature. Subject,
// audience and times stay.
func (i *Issuer) Resign(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("no token")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	claims := map[string]any{}
	if err := json.Unmarshal(raw, &claims); err != nil {
		return "", err
	}
	claims["iss"] = i.URL
	return i.Sign(claims)
}
