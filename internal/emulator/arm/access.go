package arm

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/emulator/entra"
	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// audiences are those of the tokens that Resource Manager takes, less a trailing slash.
var audiences = []string{"https://management.azure.com", "https://management.core.windows.net"}

func fail(status int, code, format string, args ...any) error {
	return &wire.Failure{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// unauthorized is a 401 with the challenge that names the tenant's authority.
func unauthorized(tenant, code, format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	challenge := fmt.Sprintf(`Bearer authorization_uri="https://%s/%s", error="invalid_token", error_description="%s"`,
		entra.SecondHost, tenant, strings.ReplaceAll(message, `"`, "'"))
	return &wire.Failure{
		Status: http.StatusUnauthorized, Code: code, Message: message,
		Header: http.Header{"Www-Authenticate": {challenge}},
	}
}

func (s *Service) authenticate(state *store.State, r *http.Request) (*entra.Claims, error) {
	scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || strings.TrimSpace(raw) == "" {
		return nil, unauthorized(state.Tenant, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing or is not a bearer token.")
	}
	claims, err := s.tokens.Verify(strings.TrimSpace(raw))
	switch {
	case errors.Is(err, entra.ErrExpired):
		return nil, unauthorized(state.Tenant, "ExpiredAuthenticationToken", "The access token expiry UTC time is in the past, or it is not valid yet.")
	case err != nil:
		return nil, unauthorized(state.Tenant, "InvalidAuthenticationToken", "The access token is invalid.")
	case !slices.Contains(audiences, strings.TrimSuffix(claims.AudienceName(), "/")):
		return nil, unauthorized(state.Tenant, "InvalidAuthenticationTokenAudience",
			"The access token has been obtained for the wrong audience or resource '%s'. It should be '%s/'.", claims.AudienceName(), audiences[0])
	case !strings.EqualFold(claims.TenantID, state.Tenant):
		return nil, unauthorized(state.Tenant, "InvalidAuthenticationTokenTenant", "The access token is from the wrong issuer '%s'.", claims.Issuer)
	}
	return claims, nil
}

// authorize lets the developer do everything, and others what a cluster user may.
func authorize(state *store.State, caller *entra.Claims, r *http.Request, operation string) error {
	if owner(state, caller) || clusterUser(state, caller, r, operation) {
		return nil
	}
	return fail(http.StatusForbidden, "AuthorizationFailed",
		"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid.",
		caller.AppID, caller.ObjectID, operation, r.URL.Path)
}

// clusterUserRole is "Azure Kubernetes Service Cluster User Role".
const clusterUserRole = "4abbcc35-e782-43d8-92c5-2d3f1bd2253f"

// clusterUser says whether the caller's role lets it read a cluster and ask for its users' kubeconfig.
func clusterUser(state *store.State, caller *entra.Claims, r *http.Request, operation string) bool {
	if operation != "get-cluster" && operation != "list-cluster-user-credential" {
		return false
	}
	for _, a := range state.Assignments {
		if a.RoleID == clusterUserRole && strings.EqualFold(a.PrincipalID, caller.ObjectID) &&
			strings.HasPrefix(store.Fold(r.URL.Path)+"/", store.Fold(a.Scope)+"/") {
			return true
		}
	}
	return false
}

func owner(state *store.State, caller *entra.Claims) bool {
	return strings.EqualFold(caller.ObjectID, state.Developer.ObjectID)
}
