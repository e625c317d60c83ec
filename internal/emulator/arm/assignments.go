package arm

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
)

type assignmentRequest struct {
	Properties struct {
		RoleDefinitionID string `json:"roleDefinitionId"`
		PrincipalID      string `json:"principalId"`
		PrincipalType    string `json:"principalType"`
	} `json:"properties"`
}

func assignmentBody(state *store.State, a *store.Assignment) any {
	return map[string]any{
		"id": a.ID, "name": a.Name, "type": assignmentType,
		"properties": map[string]any{
			"roleDefinitionId": "/subscriptions/" + state.Subscription + "/providers/Microsoft.Authorization/roleDefinitions/" + a.RoleID,
			"principalId":      a.PrincipalID, "principalType": a.PrincipalType, "scope": a.Scope,
		},
	}
}

// assignmentID is the assignment's resource id, from the path.
func (r *request) assignmentID() string {
	return r.vars["scope"] + "/providers/" + assignmentType + "/" + r.vars["assignment"]
}

func (s *Service) putAssignment(r *request) (answer, error) {
	var in assignmentRequest
	if err := r.decode(&in); err != nil {
		return answer{}, err
	}
	p := in.Properties
	role := p.RoleDefinitionID[strings.LastIndex(p.RoleDefinitionID, "/")+1:]
	if !guid.MatchString(r.vars["assignment"]) || !guid.MatchString(role) || !guid.MatchString(p.PrincipalID) {
		return answer{}, fail(http.StatusBadRequest, "InvalidRoleAssignmentId", "The assignment's name, the role definition and the principal must be given by GUID.")
	}
	made := &store.Assignment{
		ID: r.assignmentID(), Name: r.vars["assignment"], Scope: r.vars["scope"],
		PrincipalID: p.PrincipalID, PrincipalType: p.PrincipalType, RoleID: strings.ToLower(role),
	}
	if made.PrincipalType == "" {
		made.PrincipalType = "ServicePrincipal"
	}
	err := s.store.Update(func(state *store.State) error {
		for key, other := range state.Assignments {
			if key != store.Fold(made.ID) && strings.EqualFold(other.Scope, made.Scope) &&
				strings.EqualFold(other.PrincipalID, made.PrincipalID) && other.RoleID == made.RoleID {
				return fail(http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists.")
			}
		}
		state.Assignments[store.Fold(made.ID)] = made
		return nil
	})
	return answer{status: http.StatusCreated, body: assignmentBody(r.state, made)}, err
}

func (s *Service) getAssignment(r *request) (answer, error) {
	if a := r.state.Assignments[store.Fold(r.assignmentID())]; a != nil {
		return ok(assignmentBody(r.state, a))
	}
	return answer{}, fail(http.StatusNotFound, "RoleAssignmentNotFound", "The role assignment '%s' is not found.", r.vars["assignment"])
}

// listAssignments gives those that hold at the scope: made there, above it or, as Azure has it, below. It understands
// the filters principalId eq '…', assignedTo('…') and atScope().
func (s *Service) listAssignments(r *request) (answer, error) {
	filter := r.URL.Query().Get("$filter")
	_, principal, _ := strings.Cut(filter, "'")
	principal, _, _ = strings.Cut(principal, "'")
	scope := store.Fold(r.vars["scope"])
	var items []any
	for _, key := range slices.Sorted(maps.Keys(r.state.Assignments)) {
		a := r.state.Assignments[key]
		at := store.Fold(a.Scope)
		above := strings.HasPrefix(scope+"/", at+"/")
		below := strings.HasPrefix(at+"/", scope+"/")
		if (above || below && !strings.Contains(filter, "atScope()")) && (principal == "" || strings.EqualFold(principal, a.PrincipalID)) {
			items = append(items, assignmentBody(r.state, a))
		}
	}
	return okList(items)
}

func (s *Service) deleteAssignment(r *request) (answer, error) {
	out := answer{status: http.StatusOK}
	err := s.store.Update(func(state *store.State) error {
		a := state.Assignments[store.Fold(r.assignmentID())]
		if a == nil {
			out.status = http.StatusNoContent
			return nil
		}
		out.body = assignmentBody(state, a)
		delete(state.Assignments, store.Fold(a.ID))
		return nil
	})
	return out, err
}
