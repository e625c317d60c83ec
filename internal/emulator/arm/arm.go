// Package arm is the part of Azure Resource Manager that onboarding and `az` use: subscriptions, resource groups,
// managed identities with their federated credentials, vaults with access policies and first keys, role assignments on
// them, and AKS clusters as descriptions.
//
// The developer principal is Owner of the one subscription; everyone else is refused with AuthorizationFailed. It
// refuses what it doesn't know by Azure's own codes instead of pretending. Every operation finishes at once; handlers
// return answers rather than write them, so that long-running forms can be put around them.
package arm

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/entra"
	"github.com/sluice-gitops/sluice/internal/emulator/keyvault"
	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// Host is Resource Manager's.
const Host = "management.azure.com"

// Verifier judges access tokens (entra.Tokens does).
type Verifier interface {
	Verify(raw string) (*entra.Claims, error)
}

// KeyMaker makes a vault's keys for this plane (keyvault.Service does).
type KeyMaker interface {
	CreateFirst(vault, name string, spec keyvault.Spec) (*store.Vault, *store.Key, error)
}

// Service answers for Resource Manager.
type Service struct {
	store  *store.Store
	tokens Verifier
	keys   KeyMaker
	now    func() time.Time
	routes []route

	federating sync.Map // identities whose federated credentials are being written

	endpoint atomic.Pointer[Endpoint]
}

// New returns the service.
func New(st *store.Store, tokens Verifier, keys KeyMaker, now func() time.Time) *Service {
	s := &Service{store: st, tokens: tokens, keys: keys, now: now}
	s.routes = s.table()
	return s
}

// request is one routed, authorized request.
type request struct {
	*http.Request
	state  *store.State
	caller *entra.Claims
	vars   map[string]string // path variables, in the caller's spelling
}

// answer is what an operation gives back; a nil body is none.
type answer struct {
	status int
	body   any
}

type handler func(*request) (answer, error)

// ServeHTTP takes a request through the token, routing and access to its operation.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := s.serve(r)
	switch {
	case err != nil:
		wire.Fail(w, err)
	case a.body == nil:
		w.WriteHeader(a.status)
	default:
		wire.JSON(w, a.status, a.body)
	}
}

func (s *Service) serve(r *http.Request) (answer, error) {
	state := s.store.State()
	found, vars, err := match(s.routes, r.Method, r.URL.Path)
	if err == nil {
		wire.Operation(r, found.operation)
	}
	caller, denied := s.authenticate(state, r)
	switch {
	case denied != nil:
		return answer{}, denied
	case err != nil:
		return answer{}, err
	case r.URL.Query().Get("api-version") == "":
		return answer{}, fail(http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	}
	if sub, scoped := vars["subscription"]; scoped {
		if !strings.EqualFold(sub, state.Subscription) {
			return answer{}, fail(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", sub)
		}
		if err := authorize(state, caller, r, found.operation); err != nil {
			return answer{}, err
		}
	}
	return found.handle(&request{Request: r, state: state, caller: caller, vars: vars})
}

// decode reads the request's body into v.
func (r *request) decode(v any) error {
	if err := wire.Decode(r.Request, v); err != nil {
		return fail(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized.")
	}
	return nil
}

// group returns the resource group that the path names.
func (r *request) group(state *store.State) (*store.Group, error) {
	if g := state.Groups[store.Fold(r.vars["group"])]; g != nil {
		return g, nil
	}
	return nil, fail(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", r.vars["group"])
}
