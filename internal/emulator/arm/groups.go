package arm

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

var groupName = lazyregexp.New(`^[\p{L}\p{N}_().-]{0,89}[\p{L}\p{N}_()-]$`)

// resourceRequest is what every tracked resource's body has.
type resourceRequest struct {
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags"`
}

func (in *resourceRequest) needLocation() error {
	if in.Location == "" {
		return fail(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition.")
	}
	in.Location = strings.ToLower(strings.ReplaceAll(in.Location, " ", ""))
	return nil
}

// resource is the frame of every tracked resource's body.
func resource(state *store.State, group, kind, name, location string, tags map[string]string, properties any) map[string]any {
	body := map[string]any{
		"id": resourceID(state, group, kind, name), "name": name, "type": kind, "location": location, "properties": properties,
	}
	if tags == nil {
		tags = map[string]string{}
	}
	body["tags"] = tags
	return body
}

func resourceID(state *store.State, group, kind, name string) string {
	return "/subscriptions/" + state.Subscription + "/resourceGroups/" + group + "/providers/" + kind + "/" + name
}

func notFound(kind, name, group string) error {
	return fail(http.StatusNotFound, "ResourceNotFound", "The Resource '%s/%s' under resource group '%s' was not found.", kind, name, group)
}

func groupBody(state *store.State, g *store.Group) any {
	tags := g.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return map[string]any{
		"id": "/subscriptions/" + state.Subscription + "/resourceGroups/" + g.Name, "name": g.Name,
		"type": "Microsoft.Resources/resourceGroups", "location": g.Location, "tags": tags,
		"properties": map[string]string{"provisioningState": stateOf(g.Pending)},
	}
}

func (s *Service) listGroups(r *request) (answer, error) {
	var items []any
	for _, key := range slices.Sorted(maps.Keys(r.state.Groups)) {
		items = append(items, groupBody(r.state, r.state.Groups[key]))
	}
	return okList(items)
}

func (s *Service) putGroup(r *request) (answer, error) {
	var in resourceRequest
	if err := r.decode(&in); err != nil {
		return answer{}, err
	}
	if err := in.needLocation(); err != nil {
		return answer{}, err
	}
	name := r.vars["group"]
	if !groupName.MatchString(name) {
		return answer{}, fail(http.StatusBadRequest, "InvalidResourceGroup", "The resource group name '%s' is not valid.", name)
	}
	out := answer{status: http.StatusOK}
	err := s.store.Update(func(state *store.State) error {
		g := state.Groups[store.Fold(name)]
		if g == nil {
			g = &store.Group{Name: name, Location: in.Location}
			state.Groups[store.Fold(name)] = g
			out.status = http.StatusCreated
		}
		if g.Pending.State != "" {
			return beingDeleted(g)
		}
		if g.Location != in.Location {
			return fail(http.StatusConflict, "InvalidResourceGroupLocation",
				"Invalid resource group location '%s'. The Resource group already exists in location '%s'.", in.Location, g.Location)
		}
		g.Tags = in.Tags
		out.body = groupBody(state, g)
		return nil
	})
	return out, err
}

func (s *Service) getGroup(r *request) (answer, error) {
	g, err := r.group(r.state)
	if err != nil {
		return answer{}, err
	}
	return ok(groupBody(r.state, g))
}

func (s *Service) headGroup(r *request) (answer, error) {
	if _, err := r.group(r.state); err != nil {
		return answer{status: http.StatusNotFound}, nil
	}
	return answer{status: http.StatusNoContent}, nil
}

// deleteGroup deletes in the background what is in the group, and then the group.
func (s *Service) deleteGroup(r *request) (answer, error) {
	out := answer{status: http.StatusAccepted}
	err := s.store.Update(func(state *store.State) error {
		g, err := r.group(state)
		if err != nil {
			return err
		}
		if s.pace.Group == 0 {
			s.dropGroup(state, g)
			out.status = http.StatusOK
			return nil
		}
		if g.Pending.State == "" {
			g.Pending = store.Pending{State: "Deleting", Until: time.Now().Add(s.pace.Group)}
		}
		left := time.Until(g.Pending.Until)
		out.header = pace(left)
		out.header.Set("Location", "https://"+Host+"/subscriptions/"+state.Subscription+"/operationresults/"+
			begin(state, time.Now(), left, nil)+"?api-version="+r.URL.Query().Get("api-version"))
		return nil
	})
	return out, err
}

func softDelete(v *store.Vault, now time.Time) {
	if v.Deleted == nil {
		now = now.UTC()
		v.Deleted = &now
	}
}
