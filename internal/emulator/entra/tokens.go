package entra

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io/fs"
	"math/big"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// Claims are those of an access token, version 1.0: who calls (AppID, ObjectID), for what (aud), from which tenant.
type Claims struct {
	jwt.RegisteredClaims
	AppID    string `json:"appid"`
	AppACR   string `json:"appidacr"` // how the client proved itself: 1 by a secret, 2 by an assertion
	IDP      string `json:"idp"`
	IDType   string `json:"idtyp"`
	ObjectID string `json:"oid"`
	TenantID string `json:"tid"`
	UTI      string `json:"uti"`
	Ver      string `json:"ver"`
}

// AudienceName is the one resource that the token is for.
func (c *Claims) AudienceName() string {
	if len(c.Audience) == 1 {
		return c.Audience[0]
	}
	return ""
}

// What Verify finds wrong, in this order.
var (
	ErrMalformed = errors.New("the token is not a JSON web token")
	ErrSignature = errors.New("the token's signature does not match any signing key")
	ErrExpired   = errors.New("the token is outside its validity period")
)

// Tokens mints and judges access tokens with the tenant's signing key, which outlives restarts.
type Tokens struct {
	key   *rsa.PrivateKey
	keyID string
	now   func() time.Time
}

// OpenTokens loads the signing key from st, or makes one.
func OpenTokens(st *store.Store, now func() time.Time) (*Tokens, error) {
	key, err := st.PrivateKey(store.SigningKey)
	if errors.Is(err, fs.ErrNotExist) {
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err == nil {
			err = st.PutPrivateKey(store.SigningKey, key)
		}
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	return &Tokens{key: key, keyID: base64.RawURLEncoding.EncodeToString(sum[:20]), now: now}, nil
}

// JWKS is the document of the public signing keys.
func (t *Tokens) JWKS() any {
	b64 := base64.RawURLEncoding
	return map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": t.keyID, "x5t": t.keyID,
		"n": b64.EncodeToString(t.key.N.Bytes()), "e": b64.EncodeToString(big.NewInt(int64(t.key.E)).Bytes()),
	}}}
}

// principal is who a token is minted for.
type principal struct {
	clientID, objectID, tenant string
	acr                        string
	lifetime                   time.Duration
}

func (t *Tokens) mint(p principal, audience string) (string, time.Time, error) {
	now := t.now()
	expires := now.Add(p.lifetime)
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, &Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Audience: jwt.ClaimStrings{audience}, Issuer: v1Issuer(p.tenant), Subject: p.objectID,
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
		},
		AppID: p.clientID, AppACR: p.acr, IDP: v1Issuer(p.tenant), IDType: "app", ObjectID: p.objectID,
		TenantID: p.tenant, UTI: wire.NewID(), Ver: "1.0",
	})
	token.Header["kid"], token.Header["x5t"] = t.keyID, t.keyID
	signed, err := token.SignedString(t.key)
	return signed, expires, err
}

// Verify judges an access token: form, signature, time. Audience and issuer are the service's to compare. Unless the
// token is malformed the claims come back with the error too, for the refusal's words only.
func (t *Tokens) Verify(raw string) (*Claims, error) {
	claims := &Claims{}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithTimeFunc(t.now),
		jwt.WithExpirationRequired(), jwt.WithLeeway(clockSkew))
	if _, _, err := parser.ParseUnverified(raw, claims); err != nil {
		return nil, ErrMalformed
	}
	_, err := parser.ParseWithClaims(raw, claims, func(*jwt.Token) (any, error) { return &t.key.PublicKey, nil })
	switch {
	case err == nil:
		return claims, nil
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return claims, ErrExpired
	default:
		return claims, ErrSignature
	}
}
