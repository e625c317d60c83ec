package arm

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// Pace says how long the operations take that take long on Azure. Zero ends one at once.
type Pace struct {
	Cluster  time.Duration // creating, updating or deleting a managed cluster
	Vault    time.Duration // a new vault's name coming into DNS
	Group    time.Duration // deleting a resource group with what is in it
	Purge    time.Duration // of a deleted vault
	Register time.Duration // of a resource provider
}

// DefaultPace is short enough for nobody to wait, and long enough for every client to have to poll.
var DefaultPace = Pace{
	Cluster: 300 * time.Millisecond, Vault: 100 * time.Millisecond, Group: 100 * time.Millisecond,
	Purge: 50 * time.Millisecond, Register: 50 * time.Millisecond,
}

const (
	forgetAfter = time.Hour       // how long an ended operation can be asked about
	longestPoll = 5 * time.Second // the most that a client is asked to wait between two questions
)

// begin notes an operation that takes d and returns its id. late, if not nil, is what it will fail with.
func begin(state *store.State, now time.Time, d time.Duration, late *wire.Failure) string {
	maps.DeleteFunc(state.Operations, func(_ string, o *store.Operation) bool { return now.Sub(o.Until) > forgetAfter })
	id, o := wire.NewID(), &store.Operation{Until: now.Add(d)}
	if late != nil {
		o.Code, o.Message = late.Code, late.Message
	}
	state.Operations[id] = o
	return id
}

// pace are the headers that ask a client to come back. Retry-After counts whole seconds; the finer header, which some
// of Azure's services send too, keeps clients that know it from waiting for nothing.
func pace(left time.Duration) http.Header {
	left = min(max(left, 10*time.Millisecond), longestPoll)
	return http.Header{
		"Retry-After":         {strconv.Itoa(int((left + time.Second - 1) / time.Second))},
		"X-Ms-Retry-After-Ms": {strconv.Itoa(int(left / time.Millisecond))},
	}
}

// following adds where an operation of a resource provider's can be followed.
func (r *request) following(state *store.State, namespace, id string, d time.Duration, location bool) http.Header {
	h := pace(d)
	base := "https://" + Host + "/subscriptions/" + state.Subscription + "/providers/" + namespace + "/locations/" + state.Region
	version := "?api-version=" + r.URL.Query().Get("api-version")
	h.Set("Azure-AsyncOperation", base+"/operations/"+id+version)
	if location {
		h.Set("Location", base+"/operationresults/"+id+version)
	}
	return h
}

func (r *request) operation() (*store.Operation, error) {
	if o := r.state.Operations[r.vars["operation"]]; o != nil {
		return o, nil
	}
	return nil, fail(http.StatusNotFound, "OperationNotFound", "The operation '%s' was not found.", r.vars["operation"])
}

// getOperation is what Azure-AsyncOperation names: always 200, the outcome in the body.
func (s *Service) getOperation(r *request) (answer, error) {
	o, err := r.operation()
	if err != nil {
		return answer{}, err
	}
	body := map[string]any{"id": r.URL.Path, "name": r.vars["operation"], "status": "Succeeded", "endTime": o.Until.UTC()}
	switch left := time.Until(o.Until); {
	case left > 0:
		delete(body, "endTime")
		body["status"] = "InProgress"
		return answer{status: http.StatusOK, body: body, header: pace(left)}, nil
	case o.Code != "":
		body["status"] = "Failed"
		body["error"] = map[string]string{"code": o.Code, "message": o.Message}
	}
	return ok(body)
}

// getOperationResult is what Location names: 202 until the operation has ended.
func (s *Service) getOperationResult(r *request) (answer, error) {
	o, err := r.operation()
	if err != nil {
		return answer{}, err
	}
	if left := time.Until(o.Until); left > 0 {
		h := pace(left)
		h.Set("Location", "https://"+Host+r.URL.RequestURI())
		return answer{status: http.StatusAccepted, header: h}, nil
	}
	if o.Code != "" {
		return answer{}, fail(http.StatusConflict, o.Code, "%s", o.Message)
	}
	return answer{status: http.StatusOK}, nil
}

// stateOf is a resource's provisioning state.
func stateOf(p store.Pending) string {
	switch {
	case p.State != "" && time.Now().Before(p.Until):
		return p.State
	case p.Fails:
		return "Failed"
	}
	return "Succeeded"
}

// settle carries out the deletions whose time has come.
func (s *Service) settle() error {
	due := func(p store.Pending) bool { return p.State == "Deleting" && !time.Now().Before(p.Until) }
	found := false
	state := s.store.State()
	for _, g := range state.Groups {
		found = found || due(g.Pending)
	}
	for _, c := range state.Clusters {
		found = found || due(c.Pending)
	}
	if !found {
		return nil
	}
	return s.store.Update(func(state *store.State) error {
		for _, g := range state.Groups {
			if due(g.Pending) {
				s.dropGroup(state, g)
			}
		}
		maps.DeleteFunc(state.Clusters, func(_ string, c *store.Cluster) bool { return due(c.Pending) })
		return nil
	})
}

// dropGroup takes everything in the group along; vaults can still be recovered.
func (s *Service) dropGroup(state *store.State, g *store.Group) {
	maps.DeleteFunc(state.Identities, func(_ string, i *store.Identity) bool { return strings.EqualFold(i.Group, g.Name) })
	maps.DeleteFunc(state.Clusters, func(_ string, c *store.Cluster) bool { return strings.EqualFold(c.Group, g.Name) })
	scope := store.Fold("/subscriptions/" + state.Subscription + "/resourceGroups/" + g.Name)
	maps.DeleteFunc(state.Assignments, func(_ string, a *store.Assignment) bool {
		return strings.HasPrefix(store.Fold(a.Scope)+"/", scope+"/")
	})
	for _, v := range state.Vaults {
		if strings.EqualFold(v.Group, g.Name) {
			softDelete(v, s.now())
		}
	}
	delete(state.Groups, store.Fold(g.Name))
}
