package keyvault

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sluice-gitops/sluice/internal/emulator/entra"
	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// resource is the audience of the tokens that Key Vault takes.
const resource = "https://vault.azure.net"

// challenged is a 401: always with the challenge, from which clients learn the vault's tenant. They use only the path
// segment of authorization, and panic without one.
func challenged(v *store.Vault, format string, args ...any) error {
	challenge := fmt.Sprintf(`Bearer authorization="https://%s/%s", resource="%s"`, entra.Host, v.TenantID, resource)
	return &wire.Failure{
		Status: http.StatusUnauthorized, Code: "Unauthorized", Message: fmt.Sprintf(format, args...),
		Header: http.Header{"Www-Authenticate": {challenge}},
	}
}

// bearer returns the request's bearer token, or "".
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// authenticate judges the token as Key Vault does: audience, issuer, signature, time.
func (s *Service) authenticate(v *store.Vault, raw string) (*entra.Claims, error) {
	claims, err := s.tokens.Verify(raw)
	if errors.Is(err, entra.ErrMalformed) {
		return nil, challenged(v, "Error validating token: %s.", err)
	}
	if audience := claims.AudienceName(); strings.TrimSuffix(audience, "/") != resource && audience != "cfa8b339-82a2-471a-a3c9-0fc0be7a4093" {
		return nil, challenged(v, "AKV10022: Invalid audience. Expected %s, found: %s.", resource, audience)
	}
	accepted := "https://sts.windows.net/" + v.TenantID + "/"
	if !strings.EqualFold(claims.Issuer, accepted) {
		return nil, challenged(v, "AKV10032: Invalid issuer. Expected one of %s, found %s.", accepted, claims.Issuer)
	}
	if err != nil {
		return nil, challenged(v, "Error validating token: %s.", err)
	}
	return claims, nil
}
