package arm

import (
	"maps"
	"net/http"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
)

// A managed cluster here is a description of the local one: whatever its name, its issuer is the platform's, because
// there is one API server behind it.

type clusterRequest struct {
	resourceRequest
	Properties map[string]any `json:"properties"`
}

// clusterDefaults are what AKS answers for every cluster, and what clients don't expect to miss: `az aks show` fails
// without a servicePrincipalProfile.
var clusterDefaults = map[string]any{
	"servicePrincipalProfile": map[string]string{"clientId": "msi"},
	"agentPoolProfiles":       []any{},
}

func clusterBody(state *store.State, c *store.Cluster) map[string]any {
	properties := maps.Clone(c.Properties)
	if properties == nil {
		properties = map[string]any{}
	}
	issuer := map[string]any{"enabled": c.OIDC}
	if c.OIDC && stateOf(c.Pending) != "Creating" {
		issuer["issuerURL"] = state.Issuer()
	}
	security := map[string]any{}
	if given, isMap := properties["securityProfile"].(map[string]any); isMap {
		security = maps.Clone(given)
	}
	security["workloadIdentity"] = map[string]any{"enabled": c.WorkloadIdentity}
	properties["oidcIssuerProfile"] = issuer
	properties["securityProfile"] = security
	for name, what := range clusterDefaults {
		if properties[name] == nil {
			properties[name] = what
		}
	}
	properties["provisioningState"] = stateOf(c.Pending)
	properties["powerState"] = map[string]string{"code": "Running"}
	return resource(state, c.Group, clusterType, c.Name, c.Location, c.Tags, properties)
}

// cluster returns the cluster that the path names.
func (r *request) cluster(state *store.State) (*store.Cluster, error) {
	g, err := r.group(state)
	if err != nil {
		return nil, err
	}
	if c := state.Clusters[store.GroupedID(g.Name, r.vars["cluster"])]; c != nil {
		return c, nil
	}
	return nil, notFound(clusterType, r.vars["cluster"], g.Name)
}

func (s *Service) listClusters(r *request) (answer, error) {
	return listed(r, r.state.Clusters, func(c *store.Cluster) string { return c.Group }, clusterBody)
}

func (s *Service) getCluster(r *request) (answer, error) {
	c, err := r.cluster(r.state)
	if err != nil {
		return answer{}, err
	}
	return ok(clusterBody(r.state, c))
}

func (s *Service) putCluster(r *request) (answer, error) {
	var in clusterRequest
	if err := r.decode(&in); err != nil {
		return answer{}, err
	}
	if err := in.needLocation(); err != nil {
		return answer{}, err
	}
	out := answer{status: http.StatusOK}
	err := s.store.Update(func(state *store.State) error {
		g, err := r.group(state)
		if err != nil {
			return err
		}
		key := store.GroupedID(g.Name, r.vars["cluster"])
		c, doing := state.Clusters[key], "Updating"
		if c != nil {
			if now := stateOf(c.Pending); now != "Succeeded" && now != "Failed" {
				return fail(http.StatusConflict, "OperationNotAllowed", "Operation is not allowed because there's an in progress %s operation on the managed cluster '%s'.", now, c.Name)
			}
		}
		if c == nil {
			doing = "Creating"
			c = &store.Cluster{Group: g.Name, Name: r.vars["cluster"], Location: in.Location}
			state.Clusters[key] = c
			out.status = http.StatusCreated
		}
		oidc := enabled(in.Properties, "oidcIssuerProfile")
		if c.OIDC && !oidc {
			return fail(http.StatusBadRequest, "OIDCIssuerFeatureCannotBeDisabled", "The OIDC issuer feature cannot be disabled once it is on.")
		}
		c.OIDC, c.WorkloadIdentity = oidc, enabled(in.Properties, "securityProfile", "workloadIdentity")
		if c.WorkloadIdentity && !c.OIDC {
			return fail(http.StatusBadRequest, "InvalidParameter", "Workload identity needs the OIDC issuer to be on.")
		}
		c.Properties, c.Tags = in.Properties, in.Tags
		delete(c.Properties, "oidcIssuerProfile")
		late := s.late("put-cluster")
		c.Pending = store.Pending{State: doing, Until: time.Now().Add(s.pace.Cluster), Fails: late != nil}
		if s.pace.Cluster > 0 {
			out.header = r.following(state, "Microsoft.ContainerService", begin(state, time.Now(), s.pace.Cluster, late), s.pace.Cluster, false)
		}
		out.body = clusterBody(state, c)
		return nil
	})
	return out, err
}

// enabled reads the "enabled" flag under the nested objects of that path.
func enabled(properties map[string]any, path ...string) bool {
	for _, name := range path {
		properties, _ = properties[name].(map[string]any)
	}
	on, _ := properties["enabled"].(bool)
	return on
}

func (s *Service) deleteCluster(r *request) (answer, error) {
	out := answer{status: http.StatusAccepted}
	err := s.store.Update(func(state *store.State) error {
		g, err := r.group(state)
		if err != nil {
			return err
		}
		key := store.GroupedID(g.Name, r.vars["cluster"])
		c := state.Clusters[key]
		switch {
		case c == nil:
			out.status = http.StatusNoContent
		case s.pace.Cluster == 0:
			out.status = http.StatusOK
			delete(state.Clusters, key)
		default:
			c.Pending = store.Pending{State: "Deleting", Until: time.Now().Add(s.pace.Cluster)}
			out.header = r.following(state, "Microsoft.ContainerService", begin(state, time.Now(), s.pace.Cluster, nil), s.pace.Cluster, true)
		}
		return nil
	})
	return out, err
}
