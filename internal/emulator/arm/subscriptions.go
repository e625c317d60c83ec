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

func ok(body any) (answer, error) { return answer{http.StatusOK, body}, nil }

func okList(items []any) (answer, error) {
	if items == nil {
		items = []any{}
	}
	return ok(list{items})
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

// providers are the namespaces in use, with the resource types that `az` looks for by API version.
var providers = map[string][]string{
	"Microsoft.Authorization":    {"roleAssignments"},
	"Microsoft.ContainerService": {"managedClusters"},
	"Microsoft.KeyVault":         {"vaults"},
	"Microsoft.ManagedIdentity":  {"userAssignedIdentities"},
	"Microsoft.Resources":        {"resourceGroups"},
}

// provider describes a namespace as registered, which every namespace is here.
func provider(state *store.State, namespace string) any {
	types := []any{}
	for name, resourceTypes := range providers {
		if !strings.EqualFold(name, namespace) {
			continue
		}
		namespace = name
		for _, resourceType := range resourceTypes {
			types = append(types, map[string]any{"resourceType": resourceType, "locations": []string{state.Region}, "apiVersions": []string{"2024-11-30", "2024-11-01"}})
		}
	}
	return map[string]any{
		"id": "/subscriptions/" + state.Subscription + "/providers/" + namespace, "namespace": namespace,
		"registrationState": "Registered", "registrationPolicy": "RegistrationRequired", "resourceTypes": types,
	}
}

func (s *Service) listProviders(r *request) (answer, error) {
	var items []any
	for _, namespace := range slices.Sorted(maps.Keys(providers)) {
		items = append(items, provider(r.state, namespace))
	}
	return okList(items)
}

func (s *Service) getProvider(r *request) (answer, error) {
	return ok(provider(r.state, r.vars["namespace"]))
}

// listResources answers `az`'s search for a resource by type and, often, name. It reads the one form of $filter that
// `az` writes, equality joined by "and", and ignores the rest.
func (s *Service) listResources(r *request) (answer, error) {
	wanted := map[string]string{}
	for clause := range strings.SplitSeq(r.URL.Query().Get("$filter"), " and ") {
		if field, value, found := strings.Cut(clause, " eq "); found {
			wanted[strings.TrimSpace(field)] = strings.Trim(strings.TrimSpace(value), "'")
		}
	}
	var items []any
	for _, resource := range everything(r.state) {
		if (wanted["resourceType"] == "" || strings.EqualFold(wanted["resourceType"], resource["type"].(string))) &&
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
