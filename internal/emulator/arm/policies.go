package arm

import (
	"net/http"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
)

func policyBodies(policies []store.Policy) []any {
	bodies := []any{}
	for _, p := range policies {
		permissions := map[string][]string{"keys": {}, "secrets": {}, "certificates": {}}
		for kind, verbs := range map[string][]string{
			"keys": p.Permissions.Keys, "secrets": p.Permissions.Secrets, "certificates": p.Permissions.Certificates,
		} {
			permissions[kind] = append(permissions[kind], verbs...)
		}
		if p.Permissions.Storage != nil {
			permissions["storage"] = p.Permissions.Storage
		}
		body := map[string]any{"tenantId": p.TenantID, "objectId": p.ObjectID, "permissions": permissions}
		if p.ApplicationID != "" {
			body["applicationId"] = p.ApplicationID
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// keyVerbs are the permissions on keys that a policy may name.
var keyVerbs = []string{"all", "backup", "create", "decrypt", "delete", "encrypt", "get", "getrotationpolicy", "import",
	"list", "purge", "recover", "release", "restore", "rotate", "setrotationpolicy", "sign", "unwrapkey", "update",
	"verify", "wrapkey"}

func checkPolicies(policies []store.Policy) error {
	for _, p := range policies {
		if !guid.MatchString(p.TenantID) || p.ObjectID == "" {
			return fail(http.StatusBadRequest, "BadRequest", "An invalid value was provided for 'accessPolicies': tenantId and objectId are required.")
		}
		for _, verb := range p.Permissions.Keys {
			if !slices.Contains(keyVerbs, strings.ToLower(verb)) {
				return fail(http.StatusBadRequest, "BadRequest", "An invalid value was provided for 'accessPolicies': '%s' is no permission on keys.", verb)
			}
		}
	}
	return nil
}

type policiesRequest struct {
	Properties struct {
		AccessPolicies []store.Policy `json:"accessPolicies"`
	} `json:"properties"`
}

// putPolicies adds to, replaces or removes from the entries of the principals that the body names; others stay.
func (s *Service) putPolicies(r *request) (answer, error) {
	var in policiesRequest
	if err := r.decode(&in); err != nil {
		return answer{}, err
	}
	if err := checkPolicies(in.Properties.AccessPolicies); err != nil {
		return answer{}, err
	}
	change, known := policyChanges[strings.ToLower(r.vars["kind"])]
	if !known {
		return answer{}, fail(http.StatusBadRequest, "BadRequest", "The operation kind must be add, replace or remove.")
	}
	out := answer{status: http.StatusOK}
	err := s.store.Update(func(state *store.State) error {
		v, err := r.vault(state)
		if err != nil {
			return err
		}
		for _, p := range in.Properties.AccessPolicies {
			v.Policies = changePolicy(v.Policies, p, change)
		}
		out.body = map[string]any{
			"id": resourceID(state, v.Group, vaultType, v.Name) + "/accessPolicies/", "type": vaultType + "/accessPolicies",
			"location": v.Location, "properties": map[string]any{"accessPolicies": policyBodies(v.Policies)},
		}
		return nil
	})
	return out, err
}

// policyChanges give the verbs that a principal is left with, from those it has and those in the request.
var policyChanges = map[string]func(have, given []string) []string{
	"add": func(have, given []string) []string {
		for _, verb := range given {
			if !slices.ContainsFunc(have, func(v string) bool { return strings.EqualFold(v, verb) }) {
				have = append(have, verb)
			}
		}
		return have
	},
	"replace": func(_, given []string) []string { return given },
	"remove": func(have, given []string) []string {
		return slices.DeleteFunc(have, func(verb string) bool {
			return slices.ContainsFunc(given, func(v string) bool { return strings.EqualFold(v, verb) })
		})
	},
}

// changePolicy applies change to p's principal among policies, and drops an entry that is left without any verb.
func changePolicy(policies []store.Policy, p store.Policy, change func(have, given []string) []string) []store.Policy {
	at := slices.IndexFunc(policies, func(have store.Policy) bool {
		return strings.EqualFold(have.ObjectID, p.ObjectID) && strings.EqualFold(have.TenantID, p.TenantID) &&
			strings.EqualFold(have.ApplicationID, p.ApplicationID)
	})
	if at < 0 {
		policies = append(policies, store.Policy{TenantID: p.TenantID, ObjectID: p.ObjectID, ApplicationID: p.ApplicationID})
		at = len(policies) - 1
	}
	have := &policies[at].Permissions
	have.Keys = change(have.Keys, p.Permissions.Keys)
	have.Secrets = change(have.Secrets, p.Permissions.Secrets)
	have.Certificates = change(have.Certificates, p.Permissions.Certificates)
	have.Storage = change(have.Storage, p.Permissions.Storage)
	if len(have.Keys)+len(have.Secrets)+len(have.Certificates)+len(have.Storage) == 0 {
		return slices.Delete(policies, at, at+1)
	}
	return policies
}
