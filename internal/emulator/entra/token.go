package entra

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

	// How long tokens live, as the public cloud has it: a managed identity's a day, a service principal's an hour.
	identityLifetime  = 24*time.Hour - time.Second
	developerLifetime = time.Hour - time.Second
)

// post answers the token endpoint, in its v1 or its v2.0 form.
func (s *Service) post(w http.ResponseWriter, r *http.Request, tenant string, v1 bool) {
	echoRequestID(w, r)
	if r.Method != http.MethodPost {
		s.refuse(w, r, badRequest("invalid_request", 900561, "The endpoint only accepts POST requests. Received a %s request.", r.Method))
		return
	}
	if err := r.ParseForm(); err != nil {
		s.refuse(w, r, badRequest("invalid_request", 90014, "The request body is not a form."))
		return
	}
	who, resource, err := s.exchange(r.Context(), tenant, r.PostForm, v1)
	if err == nil {
		err = s.grant(w, who, resource, v1)
	}
	var f *failure
	switch {
	case errors.As(err, &f):
		s.refuse(w, r, f)
	case err != nil:
		wire.Fail(w, err)
	}
}

// exchange walks the checks in the order in which Entra ID reports them (azure-protocol.md, section 1).
func (s *Service) exchange(ctx context.Context, tenant string, form url.Values, v1 bool) (principal, string, error) {
	none := principal{}
	if !s.isTenant(tenant) {
		return none, "", unknownTenant(tenant)
	}
	for _, name := range []string{"grant_type", "client_id"} {
		if form.Get(name) == "" {
			return none, "", badRequest("invalid_request", 900144, "The request body must contain the following parameter: '%s'.", name)
		}
	}
	if form.Get("grant_type") != "client_credentials" {
		return none, "", badRequest("unsupported_grant_type", 70003, "The app requested an unsupported grant type '%s'.", clip(form.Get("grant_type")))
	}
	who, err := s.authenticate(ctx, form)
	if err != nil {
		return none, "", err
	}
	resource, err := resourceOf(form, v1)
	return who, resource, err
}

// authenticate finds the client and checks the proof it brings.
func (s *Service) authenticate(ctx context.Context, form url.Values) (principal, error) {
	state, client := s.store.State(), form.Get("client_id")
	identity := state.ByClient(client)
	developer := strings.EqualFold(client, state.Developer.ClientID)
	if identity == nil && !developer {
		return principal{}, badRequest("unauthorized_client", 700016,
			"Application with identifier '%s' was not found in the directory '%s'.", clip(client), state.Tenant)
	}
	who := principal{clientID: state.Developer.ClientID, objectID: state.Developer.ObjectID, tenant: state.Tenant, acr: "1", lifetime: developerLifetime}
	if identity == nil {
		identity = &store.Identity{Name: "developer", ClientID: state.Developer.ClientID}
	} else {
		who.clientID, who.objectID, who.lifetime = identity.ClientID, identity.PrincipalID, identityLifetime
	}
	switch {
	case form.Get("client_assertion") != "":
		who.acr = "2"
		return who, s.federate(ctx, identity, form)
	case form.Get("client_secret") != "":
		if !developer || subtle.ConstantTimeCompare([]byte(form.Get("client_secret")), []byte(state.Developer.Secret)) != 1 {
			return who, badClient(7000215, "Invalid client secret provided for app '%s'.", clip(client))
		}
		return who, nil
	default:
		return who, badClient(7000216, "'client_assertion' or 'client_secret' is required for the 'client_credentials' grant type.")
	}
}

func (s *Service) federate(ctx context.Context, identity *store.Identity, form url.Values) error {
	if form.Get("client_assertion_type") != assertionType {
		return badRequest("invalid_request", 50027, "The client_assertion_type '%s' is not supported; it must be %s.",
			clip(form.Get("client_assertion_type")), assertionType)
	}
	a, err := parseAssertion(form.Get("client_assertion"))
	if err != nil {
		return err
	}
	if err := matchFederation(identity, a); err != nil {
		return err
	}
	return s.verifyAssertion(ctx, a)
}

// grant answers with a token. No `scope`: clients hold its absence to mean that all was granted.
func (s *Service) grant(w http.ResponseWriter, who principal, resource string, v1 bool) error {
	token, expires, err := s.tokens.mint(who, resource)
	if err != nil {
		return err
	}
	seconds := int(who.lifetime / time.Second)
	if v1 { // numbers were strings there
		wire.JSON(w, http.StatusOK, map[string]any{
			"token_type": "Bearer", "access_token": token, "resource": resource,
			"expires_in": strconv.Itoa(seconds), "ext_expires_in": strconv.Itoa(seconds),
			"expires_on": strconv.FormatInt(expires.Unix(), 10), "not_before": strconv.FormatInt(expires.Add(-who.lifetime).Unix(), 10),
		})
		return nil
	}
	wire.JSON(w, http.StatusOK, map[string]any{
		"token_type": "Bearer", "access_token": token, "expires_in": seconds, "ext_expires_in": seconds,
	})
	return nil
}
