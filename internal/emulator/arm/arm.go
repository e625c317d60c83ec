// Package arm is the part of Azure Resource Manager that onboarding and `az` use: subscriptions, resource groups,
// managed identities with their federated credentials, vaults with access policies and first keys, role assignments on
// them, and AKS clusters as descriptions.
//
// The developer principal is Owner of the one subscription; everyone else is refused with AuthorizationFailed. It
// refuses what it doesn't know by Azure's own codes instead of pretending. What takes minutes on Azure (clusters, vaults,
// deletions, registrations) takes the time that Pace says, with Azure's headers and states meanwhile; the state folder
// knows what is under way, so that a restart loses none of it.
package arm

import (
	"maps"
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
	pace   Pace

	federating sync.Map // identities whose federated credentials are being written

	endpoint atomic.Pointer[Endpoint]
	trouble  atomic.Pointer[Trouble]
}

// New returns the service.
func New(st *store.Store, tokens Verifier, keys KeyMaker, now func() time.Time, pace Pace) *Service {
	s := &Service{store: st, tokens: tokens, keys: keys, now: now, pace: pace}
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
	header http.Header // added; nil: none
}

type handler func(*request) (answer, error)

// ServeHTTP takes a request through the token, routing and access to its operation.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := s.serve(r)
	maps.Copy(w.Header(), a.header)
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
	if err := s.settle(); err != nil {
		return answer{}, err
	}
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
	if err := registered(state, r.Method, r.URL.Path); err != nil {
		return answer{}, err
	}
	if err := s.meet(found.operation, r); err != nil {
		return answer{}, err
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

// group returns the resource group that the path names. One that is being deleted can be read, and nothing else.
func (r *request) group(state *store.State) (*store.Group, error) {
	g := state.Groups[store.Fold(r.vars["group"])]
	if g == nil {
		return nil, fail(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", r.vars["group"])
	}
	if g.Pending.State != "" && (r.Method == http.MethodPut || r.Method == http.MethodPatch) {
		return nil, beingDeleted(g)
	}
	return g, nil
}

func beingDeleted(g *store.Group) error {
	return fail(http.StatusConflict, "ResourceGroupBeingDeleted", "The resource group '%s' is in deprovisioning state and cannot perform this operation.", g.Name)
}
