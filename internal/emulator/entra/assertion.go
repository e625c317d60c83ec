package entra

import (
	"context"
	"crypto/rsa"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
)

// clockSkew is how far the clocks of a token's maker and its judge may lie apart.
const clockSkew = 5 * time.Minute

// assertion is a client assertion's unverified content.
type assertion struct {
	raw    string
	kid    string
	claims jwt.RegisteredClaims
}

// parseAssertion reads a JWT without believing it. A token file's trailing newline is part of what clients send.
func parseAssertion(raw string) (*assertion, error) {
	a := &assertion{raw: strings.TrimSpace(raw)}
	token, _, err := jwt.NewParser().ParseUnverified(a.raw, &a.claims)
	if err != nil {
		return nil, badRequest("invalid_request", 50027, "JWT token is invalid or malformed: the client assertion can't be read.")
	}
	if token.Method.Alg() != jwt.SigningMethodRS256.Alg() {
		return nil, badRequest("invalid_request", 50027,
			"JWT token is invalid or malformed: the client assertion is signed with %s, only RS256 is supported.", token.Method.Alg())
	}
	a.kid, _ = token.Header["kid"].(string)
	return a, nil
}

// matchFederation decides whether one of the identity's federated credentials takes the assertion: issuer, then
// audience, then subject, so that the refusal names the first part that no credential has. Pure.
func matchFederation(identity *store.Identity, a *assertion) error {
	if len(identity.Credentials) == 0 {
		return badClient(70025, "The client '%s'(%s) has no configured federated identity credentials.", identity.ClientID, identity.Name)
	}
	left := make([]*store.Federation, 0, len(identity.Credentials))
	for _, credential := range identity.Credentials {
		left = append(left, credential)
	}
	left = slices.DeleteFunc(left, func(f *store.Federation) bool { return f.Issuer != a.claims.Issuer })
	if len(left) == 0 {
		return badClient(700211, "No matching federated identity record found for presented assertion issuer '%s'.", clip(a.claims.Issuer))
	}
	left = slices.DeleteFunc(left, func(f *store.Federation) bool {
		return !slices.ContainsFunc(f.Audiences, func(audience string) bool { return slices.Contains(a.claims.Audience, audience) })
	})
	if len(left) == 0 {
		return badClient(700212, "No matching federated identity record found for presented assertion audience '%s'.",
			clip(strings.Join(a.claims.Audience, ",")))
	}
	var onlyCase bool
	for _, credential := range left {
		if credential.Subject == a.claims.Subject {
			return nil
		}
		onlyCase = onlyCase || strings.EqualFold(credential.Subject, a.claims.Subject)
	}
	if onlyCase {
		return badClient(7002138, "The presented assertion subject '%s' matches a federated identity record only when case is ignored; "+
			"the comparison is case-sensitive.", clip(a.claims.Subject))
	}
	return badClient(700213, "No matching federated identity record found for presented assertion subject '%s'.", clip(a.claims.Subject))
}

// verifyAssertion checks the signature against the keys that the assertion's issuer publishes, then the time. The issuer
// is trusted by now: a federated credential names it.
func (s *Service) verifyAssertion(ctx context.Context, a *assertion) error {
	key, err := s.keys.key(ctx, a.claims.Issuer, a.kid)
	switch {
	case errors.Is(err, errNoKey):
		return badClient(7000272, "Signature validation failed: the issuer '%s' publishes no key with the identifier '%s'.",
			clip(a.claims.Issuer), clip(a.kid))
	case err != nil:
		return badRequest("invalid_request", 501661, "Unable to get the keys of the external OIDC provider '%s': %s.",
			clip(a.claims.Issuer), err)
	}
	err = s.checkSignature(a, key)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return badRequest("invalid_request", 50027, "JWT token is invalid or malformed: its signature does not match the issuer's key '%s'.",
			clip(a.kid))
	default:
		return badClient(700024, "Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s.",
			s.now().UTC().Format(time.RFC3339), moment(a.claims.NotBefore), moment(a.claims.ExpiresAt))
	}
}

func (s *Service) checkSignature(a *assertion, key *rsa.PublicKey) error {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithTimeFunc(s.now),
		jwt.WithExpirationRequired(), jwt.WithLeeway(clockSkew))
	_, err := parser.ParseWithClaims(a.raw, &jwt.RegisteredClaims{}, func(*jwt.Token) (any, error) { return key, nil })
	return err
}

func moment(d *jwt.NumericDate) string {
	if d == nil {
		return "(none)"
	}
	return d.UTC().Format(time.RFC3339)
}
