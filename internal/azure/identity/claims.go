package identity

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// Claims are the parts of a service-account token that may be shown: Entra ID compares the first three, byte by byte,
// with the identity's federated credentials.
type Claims struct {
	Issuer   string
	Subject  string
	Audience []string
	Expiry   time.Time // zero: the token has no exp
	KeyID    string    // of the key that signed it, as the issuer publishes it; empty: the token names none
}

var errNotJWT = errors.New("not a JSON Web Token")

// ParseClaims reads the claims of a compact JWT without verifying it: that is Entra ID's part. Its error never holds
// any part of the token.
func ParseClaims(token string) (Claims, error) {
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return Claims{}, errNotJWT
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return Claims{}, errNotJWT
	}
	var c struct {
		Iss string          `json:"iss"`
		Sub string          `json:"sub"`
		Aud json.RawMessage `json:"aud"` // a string or a list of them (RFC 7519, 4.1.3)
		Exp float64         `json:"exp"`
	}
	if json.Unmarshal(raw, &c) != nil {
		return Claims{}, errNotJWT
	}
	out := Claims{Issuer: c.Iss, Subject: c.Sub}
	var header struct {
		Kid string `json:"kid"`
	}
	if raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[0], "=")); err == nil && json.Unmarshal(raw, &header) == nil {
		out.KeyID = header.Kid
	}
	var one string
	if json.Unmarshal(c.Aud, &out.Audience) != nil && json.Unmarshal(c.Aud, &one) == nil {
		out.Audience = []string{one}
	}
	if c.Exp > 0 && c.Exp < 1<<40 {
		out.Expiry = time.Unix(int64(c.Exp), 0).UTC()
	}
	return out, nil
}

// serviceAccount splits the subject of a Kubernetes token into namespace and name; empty for any other subject.
func (c Claims) serviceAccount() (namespace, name string) {
	rest, ok := strings.CutPrefix(c.Subject, "system:serviceaccount:")
	if !ok {
		return "", ""
	}
	namespace, name, _ = strings.Cut(rest, ":")
	return namespace, name
}

func (c Claims) audience() string { return strings.Join(c.Audience, ",") }
