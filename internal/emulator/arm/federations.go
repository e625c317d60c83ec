package arm

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// Limits of federated identity credentials (azure-protocol.md, section 3).
const (
	mostFederations = 20
	longestClaim    = 600
)

var federationName = lazyregexp.New(`^[a-zA-Z0-9][a-zA-Z0-9_-]{2,119}$`)

type federationRequest struct {
	Properties struct {
		Issuer    string   `json:"issuer"`
		Subject   string   `json:"subject"`
		Audiences []string `json:"audiences"`
	} `json:"properties"`
}

func federationBody(state *store.State, i *store.Identity, f *store.Federation) map[string]any {
	const kind = "/federatedIdentityCredentials"
	return map[string]any{
		"id":   resourceID(state, i.Group, identityType, i.Name) + kind + "/" + f.Name,
		"name": f.Name, "type": identityType + kind,
		"properties": map[string]any{"issuer": f.Issuer, "subject": f.Subject, "audiences": f.Audiences},
	}
}

func (in *federationRequest) check(name string) error {
	p := in.Properties
	issuer, err := url.Parse(p.Issuer)
	switch {
	case !federationName.MatchString(name):
		return badFederation("The name '%s' is not valid: 3 to 120 letters, digits, '-' and '_', starting with a letter or digit.", name)
	case err != nil || issuer.Scheme != "https" || issuer.Host == "" || len(p.Issuer) > longestClaim:
		return badFederation("The issuer must be an https URL of at most %d characters.", longestClaim)
	case p.Subject == "" || len(p.Subject) > longestClaim:
		return badFederation("The subject must have 1 to %d characters.", longestClaim)
	case strings.Contains(p.Issuer+p.Subject, "*"):
		return badFederation("Wildcards are not supported in issuer and subject.")
	case len(p.Audiences) != 1 || p.Audiences[0] == "" || len(p.Audiences[0]) > longestClaim:
		return badFederation("Exactly one audience must be given.")
	}
	return nil
}

func badFederation(format string, args ...any) error {
	return fail(http.StatusBadRequest, "BadRequest", format, args...)
}

func (s *Service) listFederations(r *request) (answer, error) {
	i, err := r.identity(r.state)
	if err != nil {
		return answer{}, err
	}
	var items []any
	for _, key := range slices.Sorted(maps.Keys(i.Credentials)) {
		items = append(items, federationBody(r.state, i, i.Credentials[key]))
	}
	return okList(items)
}

func (s *Service) getFederation(r *request) (answer, error) {
	i, err := r.identity(r.state)
	if err != nil {
		return answer{}, err
	}
	if f := i.Credentials[store.Fold(r.vars["federation"])]; f != nil {
		return ok(federationBody(r.state, i, f))
	}
	return answer{}, notFound(identityType+"/federatedIdentityCredentials", i.Name+"/"+r.vars["federation"], i.Group)
}

// alone runs write unless another write to the same identity's credentials is under way, which Azure refuses too.
func (s *Service) alone(r *request, write func() error) error {
	key := store.GroupedID(r.vars["group"], r.vars["identity"])
	if _, busy := s.federating.LoadOrStore(key, true); busy {
		return fail(http.StatusConflict, "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity",
			"Too many Federated Identity Credentials are written concurrently for the managed identity '%s'. Write them one after another.", r.vars["identity"])
	}
	defer s.federating.Delete(key)
	return write()
}

func (s *Service) putFederation(r *request) (answer, error) {
	var in federationRequest
	if err := r.decode(&in); err != nil {
		return answer{}, err
	}
	name := r.vars["federation"]
	if err := in.check(name); err != nil {
		return answer{}, err
	}
	out := answer{status: http.StatusOK}
	err := s.alone(r, func() error {
		return s.store.Update(func(state *store.State) error {
			i, err := r.identity(state)
			if err != nil {
				return err
			}
			f, created, err := in.apply(i, name)
			if created {
				out.status = http.StatusCreated
			}
			if err == nil {
				out.body = federationBody(state, i, f)
			}
			return err
		})
	})
	return out, err
}

// apply writes the credential into i, unless another one says the same or there is no room.
func (in *federationRequest) apply(i *store.Identity, name string) (f *store.Federation, created bool, err error) {
	for key, other := range i.Credentials {
		if key != store.Fold(name) && other.Issuer == in.Properties.Issuer && other.Subject == in.Properties.Subject {
			return nil, false, badFederation("Issuer and subject combination already exists for this Managed Identity, in '%s'.", other.Name)
		}
	}
	f = i.Credentials[store.Fold(name)]
	if f == nil {
		if len(i.Credentials) >= mostFederations {
			return nil, false, badFederation("The managed identity has %d federated identity credentials, the most it can have.", mostFederations)
		}
		f, created = &store.Federation{Name: name}, true
		i.Credentials[store.Fold(name)] = f
	}
	f.Issuer, f.Subject, f.Audiences = in.Properties.Issuer, in.Properties.Subject, in.Properties.Audiences
	return f, created, nil
}

func (s *Service) deleteFederation(r *request) (answer, error) {
	out := answer{status: http.StatusOK}
	err := s.alone(r, func() error {
		return s.store.Update(func(state *store.State) error {
			i, err := r.identity(state)
			if err != nil {
				return err
			}
			if i.Credentials[store.Fold(r.vars["federation"])] == nil {
				out.status = http.StatusNoContent
			}
			delete(i.Credentials, store.Fold(r.vars["federation"]))
			return nil
		})
	})
	return out, err
}
