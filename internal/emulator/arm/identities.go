package arm

import (
	"net/http"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

var identityName = lazyregexp.New(`^[a-zA-Z0-9][a-zA-Z0-9_-]{2,127}$`)

func identityBody(state *store.State, i *store.Identity) map[string]any {
	return resource(state, i.Group, identityType, i.Name, i.Location, i.Tags, map[string]string{
		"tenantId": state.Tenant, "principalId": i.PrincipalID, "clientId": i.ClientID,
	})
}

// identity returns the identity that the path names.
func (r *request) identity(state *store.State) (*store.Identity, error) {
	g, err := r.group(state)
	if err != nil {
		return nil, err
	}
	if i := state.Identities[store.GroupedID(g.Name, r.vars["identity"])]; i != nil {
		return i, nil
	}
	return nil, notFound(identityType, r.vars["identity"], g.Name)
}

func (s *Service) listIdentities(r *request) (answer, error) {
	return listed(r, r.state.Identities, func(i *store.Identity) string { return i.Group }, identityBody)
}

func (s *Service) putIdentity(r *request) (answer, error) {
	var in resourceRequest
	if err := r.decode(&in); err != nil {
		return answer{}, err
	}
	if err := in.needLocation(); err != nil {
		return answer{}, err
	}
	name := r.vars["identity"]
	if !identityName.MatchString(name) {
		return answer{}, fail(http.StatusBadRequest, "InvalidResourceName", "The identity name '%s' is not valid.", name)
	}
	out := answer{status: http.StatusOK}
	err := s.store.Update(func(state *store.State) error {
		g, err := r.group(state)
		if err != nil {
			return err
		}
		key := store.GroupedID(g.Name, name)
		i := state.Identities[key]
		if i == nil {
			i = &store.Identity{
				Group: g.Name, Name: name, Location: in.Location, ClientID: wire.NewID(), PrincipalID: wire.NewID(),
				Credentials: map[string]*store.Federation{},
			}
			state.Identities[key] = i
			out.status = http.StatusCreated
		}
		i.Tags = in.Tags
		out.body = identityBody(state, i)
		return nil
	})
	return out, err
}

func (s *Service) patchIdentity(r *request) (answer, error) {
	var in resourceRequest
	if err := r.decode(&in); err != nil {
		return answer{}, err
	}
	out := answer{status: http.StatusOK}
	err := s.store.Update(func(state *store.State) error {
		i, err := r.identity(state)
		if err != nil {
			return err
		}
		if in.Tags != nil {
			i.Tags = in.Tags
		}
		out.body = identityBody(state, i)
		return nil
	})
	return out, err
}

func (s *Service) getIdentity(r *request) (answer, error) {
	i, err := r.identity(r.state)
	if err != nil {
		return answer{}, err
	}
	return ok(identityBody(r.state, i))
}

// deleteIdentity answers 204 when there was none, as deletions do.
func (s *Service) deleteIdentity(r *request) (answer, error) {
	out := answer{status: http.StatusOK}
	err := s.store.Update(func(state *store.State) error {
		g, err := r.group(state)
		if err != nil {
			return err
		}
		key := store.GroupedID(g.Name, r.vars["identity"])
		if state.Identities[key] == nil {
			out.status = http.StatusNoContent
		}
		delete(state.Identities, key)
		return nil
	})
	return out, err
}
