package arm

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
)

// list is the shape of every collection.
type list struct {
	Value []any `json:"value"`
}

func ok(body any) (answer, error) { return answer{status: http.StatusOK, body: body}, nil }

func okList(items []any) (answer, error) {
	if items == nil {
		items = []any{}
	}
	return ok(list{items})
}

// listed lists what all holds of the group in the path or, without one there, of the subscription, in the order of keys.
func listed[T, B any](r *request, all map[string]*T, groupOf func(*T) string, body func(*store.State, *T) B) (answer, error) {
	group, only := r.vars["group"]
	if only {
		if _, err := r.group(r.state); err != nil {
			return answer{}, err
		}
	}
	var items []any
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if one := all[key]; !only || strings.EqualFold(groupOf(one), group) {
			items = append(items, body(r.state, one))
		}
	}
	return okList(items)
}

func subscription(state *store.State) any {
	return map[string]any{
		"id": "/subscriptions/" + state.Subscription, "subscriptionId": state.Subscription, "tenantId": state.Tenant,
		"homeTenantId": state.Tenant, "displayName": "Sluice local", "state": "Enabled",
		"subscriptionPolicies": map[string]string{"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off"},
		"authorizationSource":  "RoleBased", "managedByTenants": []any{},
	}
}

// listSubscriptions shows a caller what it may see: a list, empty for strangers.
func (s *Service) listSubscriptions(r *request) (answer, error) {
	if !owner(r.state, r.caller) {
		return okList(nil)
	}
	return okList([]any{subscription(r.state)})
}

func (s *Service) getSubscription(r *request) (answer, error) { return ok(subscription(r.state)) }

func (s *Service) listTenants(r *request) (answer, error) {
	return okList([]any{map[string]any{
		"id": "/tenants/" + r.state.Tenant, "tenantId": r.state.Tenant, "displayName": "Sluice local",
		"tenantCategory": "Home", "countryCode": "NL", "defaultDomain": "sluice.example", "domains": []string{"sluice.example"},
	}})
}

func (s *Service) listLocations(r *request) (answer, error) {
	id := "/subscriptions/" + r.state.Subscription + "/locations/" + r.state.Region
	return okList([]any{map[string]any{
		"id": id, "name": r.state.Region, "displayName": r.state.Region, "regionalDisplayName": r.state.Region, "type": "Region",
	}})
}

// listResources answers `az`'s search for a resource by type and, often, name, in the subscription or in a group. It
// reads the one form of $filter that `az` writes, equality joined by "and", and ignores the rest.
func (s *Service) listResources(r *request) (answer, error) {
	within := ""
	if _, only := r.vars["group"]; only {
		g, err := r.group(r.state)
		if err != nil {
			return answer{}, err
		}
		within = store.Fold(resourceID(r.state, g.Name, "", ""))
		within = within[:len(within)-1]
	}
	wanted := map[string]string{}
	for clause := range strings.SplitSeq(r.URL.Query().Get("$filter"), " and ") {
		if field, value, found := strings.Cut(clause, " eq "); found {
			wanted[strings.TrimSpace(field)] = strings.Trim(strings.TrimSpace(value), "'")
		}
	}
	var items []any
	for _, resource := range everything(r.state) {
		if strings.HasPrefix(store.Fold(resource["id"].(string)), within) && (wanted["resourceType"] == "" || strings.EqualFold(wanted["resourceType"], resource["type"].(string))) &&
			(wanted["name"] == "" || strings.EqualFold(wanted["name"], resource["name"].(string))) {
			delete(resource, "properties")
			items = append(items, resource)
		}
	}
	return okList(items)
}

func everything(state *store.State) []map[string]any {
	var all []map[string]any
	for _, key := range slices.Sorted(maps.Keys(state.Identities)) {
		all = append(all, identityBody(state, state.Identities[key]))
	}
	for _, key := range slices.Sorted(maps.Keys(state.Vaults)) {
		if state.Vaults[key].Deleted == nil {
			all = append(all, vaultBody(state, state.Vaults[key]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(state.Clusters)) {
		all = append(all, clusterBody(state, state.Clusters[key]))
	}
	return all
}
