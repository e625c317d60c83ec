// Package entra is the emulated Microsoft Entra ID: instance discovery, OpenID metadata, signing keys, and a token
// endpoint for client_credentials with a federated assertion or, for the developer, a secret.
//
// Every check that decides a real exchange is made: tenant, client, the federated credential's issuer, audience and
// subject, the signature against the issuer's published keys, and time. Refusals carry the AADSTS codes of
// azure-protocol.md. It refuses every other grant, and knows no users and no consent. Key Vault and Resource Manager
// judge the tokens that Tokens mints here.
package entra

import (
	"net/http"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// Host is the authority that every document names. SecondHost is its old alias, which answers the same.
const (
	Host       = "login.microsoftonline.com"
	SecondHost = "login.windows.net"
)

// Service answers for the login hosts.
type Service struct {
	store  *store.Store
	tokens *Tokens
	keys   *issuerKeys
	now    func() time.Time
}

// New returns the service. fetch gets a document that a token's issuer publishes.
func New(st *store.Store, tokens *Tokens, fetch Fetch, now func() time.Time) *Service {
	return &Service{store: st, tokens: tokens, keys: newIssuerKeys(fetch, now), now: now}
}

// ServeHTTP finds what the path asks for: /common/discovery/instance or /{tenant}/...
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tenant, rest, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	switch strings.ToLower(rest) {
	case "discovery/instance":
		wire.Operation(r, "instance-discovery")
		s.get(w, r, tenant, instanceDiscovery)
	case "v2.0/.well-known/openid-configuration":
		wire.Operation(r, "openid-configuration")
		s.get(w, r, tenant, openIDv2)
	case ".well-known/openid-configuration":
		wire.Operation(r, "openid-configuration")
		s.get(w, r, tenant, openIDv1)
	case "discovery/v2.0/keys", "discovery/keys":
		wire.Operation(r, "keys")
		s.get(w, r, tenant, s.publishedKeys)
	case "oauth2/v2.0/token", "oauth2/token":
		wire.Operation(r, "token")
		s.post(w, r, tenant, !strings.EqualFold(rest, "oauth2/v2.0/token"))
	default:
		http.NotFound(w, r)
	}
}

// document makes one of the public documents for a tenant.
type document func(tenant string) any

// get answers a GET of a public document. Instance discovery and keys are the same for every tenant; the rest exists
// for the one tenant only.
func (s *Service) get(w http.ResponseWriter, r *http.Request, tenant string, d document) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	everyone := strings.EqualFold(tenant, "common") || strings.EqualFold(tenant, "organizations")
	if !everyone && !s.isTenant(tenant) {
		s.refuse(w, r, unknownTenant(tenant))
		return
	}
	wire.JSON(w, http.StatusOK, d(strings.ToLower(tenant)))
}

func (s *Service) isTenant(tenant string) bool {
	return strings.EqualFold(tenant, s.store.State().Tenant)
}
