// Package keyvault is the emulated data plane of Azure Key Vault: RSA keys with versions, soft delete, and the crypto
// operations, behind the bearer challenge and the vault's access policies or role assignments.
//
// Private halves never leave it: no operation returns one, as in Azure. It refuses elliptic-curve and symmetric keys,
// signing, secrets and certificates, none of which SOPS uses. Vaults themselves are made by package arm; tokens come
// from package entra.
package keyvault

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/entra"
	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// Domain is what every vault's host name ends with.
const Domain = "vault.azure.net"

// Verifier judges access tokens (entra.Tokens does).
type Verifier interface {
	Verify(raw string) (*entra.Claims, error)
}

// Throttle is a 429. RetryAfter is rounded up to whole seconds; at 0 the header is left out, as some of Azure's do.
type Throttle struct{ RetryAfter time.Duration }

// Service answers for all vaults' host names.
type Service struct {
	store    *store.Store
	tokens   Verifier
	now      func() time.Time
	throttle atomic.Pointer[func(vault, operation string) *Throttle]
}

// New returns the service.
func New(st *store.Store, tokens Verifier, now func() time.Time) *Service {
	return &Service{store: st, tokens: tokens, now: now}
}

// SetThrottle makes every authorized operation ask decide, by the vault's name and the operation's ("decrypt"); nil from
// it lets the operation through. For tests of back-off.
func (s *Service) SetThrottle(decide func(vault, operation string) *Throttle) {
	if decide == nil {
		s.throttle.Store(nil)
		return
	}
	s.throttle.Store(&decide)
}

// request is one authorized request on its way to an operation.
type request struct {
	*http.Request
	state  *store.State
	vault  *store.Vault
	target target
}

// handler does one operation and returns the answer's status and body.
type handler func(*request) (int, any, error)

// ServeHTTP takes a request through routing, challenge, token and access, then to its operation.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, body, err := s.serve(r)
	switch {
	case err != nil:
		wire.Fail(w, err)
	case body == nil:
		w.WriteHeader(status)
	default:
		wire.JSON(w, status, body)
	}
}

func (s *Service) serve(r *http.Request) (int, any, error) {
	state := s.store.State()
	name, _, _ := strings.Cut(r.Host, ".")
	vault := state.Vault(name)
	if vault == nil {
		return 0, nil, refuse(http.StatusNotFound, "VaultNotFound", "", "There is no key vault named '%s'.", name)
	}
	raw := bearer(r)
	if raw == "" {
		wire.Operation(r, "challenge")
		return 0, nil, challenged(vault, "Request is missing a Bearer or PoP token.")
	}
	t, ok := parsePath(r.URL.Path)
	if !ok {
		return 0, nil, refuse(http.StatusNotFound, "NotFound", "", "The path names no key of this key vault.")
	}
	operation, handle := s.route(r.Method, t)
	if handle == nil {
		return 0, nil, refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "", "The method %s is not supported on this path.", r.Method)
	}
	wire.Operation(r, operation)
	caller, err := s.authenticate(vault, raw)
	if err != nil {
		return 0, nil, err
	}
	if err := authorize(state, vault, caller, operation, t.name); err != nil {
		return 0, nil, err
	}
	if err := s.throttled(vault.Name, operation); err != nil {
		return 0, nil, err
	}
	return handle(&request{Request: r, state: state, vault: vault, target: t})
}

// route names the operation and its handler; nil for a method that the path doesn't have.
func (s *Service) route(method string, t target) (string, handler) {
	if t.collection == "deletedkeys" {
		return s.routeDeleted(method, t)
	}
	switch method + " " + t.action {
	case "GET ":
		if t.name == "" {
			return "list-keys", s.listKeys
		}
		return "get-key", s.getKey
	case "GET versions":
		return "list-versions", s.listVersions
	case "POST create":
		return "create-key", s.createKey
	case "PUT ":
		return "import-key", s.importKey
	case "PATCH ":
		return "update-key", s.updateKey
	case "POST rotate":
		return "rotate-key", s.rotateKey
	case "DELETE ":
		return "delete-key", s.deleteKey
	case "POST encrypt", "POST decrypt", "POST wrapkey", "POST unwrapkey":
		return t.action, s.crypt
	}
	return "", nil
}

func (s *Service) throttled(vault, operation string) error {
	decide := s.throttle.Load()
	if decide == nil {
		return nil
	}
	t := (*decide)(vault, operation)
	if t == nil {
		return nil
	}
	f := &wire.Failure{
		Status: http.StatusTooManyRequests, Code: "Throttled",
		Message: "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached",
	}
	if t.RetryAfter > 0 {
		f.Header = http.Header{"Retry-After": {strconv.Itoa(int(math.Ceil(t.RetryAfter.Seconds())))}}
	}
	return f
}
