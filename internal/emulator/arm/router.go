package arm

import (
	"net/http"
	"strings"
)

// route is one operation: its method, its path with {variables}, the name it is counted under, and what does it.
type route struct {
	method    string
	path      []string // lower case but for the variables' names
	operation string
	handle    handler
}

// match finds the route for a path. Resource Manager folds the case of everything but values.
func match(routes []route, method, path string) (*route, map[string]string, error) {
	segments := strings.Split(strings.Trim(path, "/"), "/")
	var others bool
	for i := range routes {
		vars, ok := routes[i].fits(segments)
		if ok && routes[i].method == method {
			return &routes[i], vars, nil
		}
		others = others || ok
	}
	if others {
		return nil, nil, fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "The method %s is not supported on this resource.", method)
	}
	return nil, nil, fail(http.StatusNotFound, "InvalidResourceType", "The resource type could not be found: the path is none that the emulator knows.")
}

func (rt *route) fits(segments []string) (map[string]string, bool) {
	if len(rt.path) > 0 && rt.path[0] == "{scope...}" {
		return rt.fitsScope(segments)
	}
	if len(rt.path) != len(segments) {
		return nil, false
	}
	vars := map[string]string{}
	for i, want := range rt.path {
		if name, isVar := variable(want); isVar {
			if segments[i] == "" {
				return nil, false
			}
			vars[name] = segments[i]
		} else if !strings.EqualFold(want, segments[i]) {
			return nil, false
		}
	}
	return vars, true
}

// fitsScope matches an extension resource's path: any resource id, then the rest.
func (rt *route) fitsScope(segments []string) (map[string]string, bool) {
	rest := route{path: rt.path[1:]}
	at := len(segments) - len(rest.path)
	if at < 2 || !strings.EqualFold(segments[0], "subscriptions") {
		return nil, false
	}
	vars, ok := rest.fits(segments[at:])
	if ok {
		vars["scope"] = "/" + strings.Join(segments[:at], "/")
		vars["subscription"] = segments[1]
	}
	return vars, ok
}

func variable(segment string) (string, bool) {
	name, ok := strings.CutPrefix(segment, "{")
	return strings.TrimSuffix(name, "}"), ok
}

const (
	subscriptionPath = "subscriptions/{subscription}"
	groupPath        = subscriptionPath + "/resourcegroups/{group}"
	identityType     = "Microsoft.ManagedIdentity/userAssignedIdentities"
	vaultType        = "Microsoft.KeyVault/vaults"
	clusterType      = "Microsoft.ContainerService/managedClusters"
	identityPath     = groupPath + "/providers/" + identityType + "/{identity}"
	federationPath   = identityPath + "/federatedidentitycredentials"
	vaultPath        = groupPath + "/providers/" + vaultType + "/{vault}"
	clusterPath      = groupPath + "/providers/" + clusterType + "/{cluster}"
	deletedPath      = subscriptionPath + "/providers/Microsoft.KeyVault/locations/{location}/deletedvaults/{vault}"
	assignmentType   = "Microsoft.Authorization/roleAssignments"
)

// table is the whole surface, in the order of a first onboarding.
func (s *Service) table() []route {
	var routes []route
	add := func(method, path, operation string, h handler) {
		routes = append(routes, route{method, strings.Split(path, "/"), operation, h})
	}
	add("GET", "subscriptions", "list-subscriptions", s.listSubscriptions)
	add("GET", "tenants", "list-tenants", s.listTenants)
	add("GET", subscriptionPath, "get-subscription", s.getSubscription)
	add("GET", subscriptionPath+"/locations", "list-locations", s.listLocations)
	add("GET", subscriptionPath+"/providers", "list-providers", s.listProviders)
	add("GET", subscriptionPath+"/providers/{namespace}", "get-provider", s.getProvider)
	add("POST", subscriptionPath+"/providers/{namespace}/register", "register-provider", s.registerProvider)
	add("POST", subscriptionPath+"/providers/{namespace}/unregister", "unregister-provider", s.unregisterProvider)
	add("GET", subscriptionPath+"/providers/{namespace}/locations/{location}/operations/{operation}", "get-operation", s.getOperation)
	add("GET", subscriptionPath+"/providers/{namespace}/locations/{location}/operationresults/{operation}", "get-operation-result", s.getOperationResult)
	add("GET", subscriptionPath+"/operationresults/{operation}", "get-operation-result", s.getOperationResult)
	add("GET", subscriptionPath+"/resources", "list-resources", s.listResources)

	add("GET", subscriptionPath+"/resourcegroups", "list-groups", s.listGroups)
	add("PUT", groupPath, "put-group", s.putGroup)
	add("GET", groupPath, "get-group", s.getGroup)
	add("HEAD", groupPath, "head-group", s.headGroup)
	add("DELETE", groupPath, "delete-group", s.deleteGroup)
	add("GET", groupPath+"/resources", "list-resources", s.listResources)

	add("GET", subscriptionPath+"/providers/"+identityType, "list-identities", s.listIdentities)
	add("GET", groupPath+"/providers/"+identityType, "list-identities", s.listIdentities)
	add("PUT", identityPath, "put-identity", s.putIdentity)
	add("PATCH", identityPath, "patch-identity", s.patchIdentity)
	add("GET", identityPath, "get-identity", s.getIdentity)
	add("DELETE", identityPath, "delete-identity", s.deleteIdentity)
	add("GET", federationPath, "list-federations", s.listFederations)
	add("PUT", federationPath+"/{federation}", "put-federation", s.putFederation)
	add("GET", federationPath+"/{federation}", "get-federation", s.getFederation)
	add("DELETE", federationPath+"/{federation}", "delete-federation", s.deleteFederation)

	add("GET", subscriptionPath+"/providers/"+vaultType, "list-vaults", s.listVaults)
	add("GET", groupPath+"/providers/"+vaultType, "list-vaults", s.listVaults)
	add("POST", subscriptionPath+"/providers/Microsoft.KeyVault/checknameavailability", "check-vault-name", s.checkVaultName)
	add("PUT", vaultPath, "put-vault", s.putVault)
	add("PATCH", vaultPath, "patch-vault", s.patchVault)
	add("GET", vaultPath, "get-vault", s.getVault)
	add("DELETE", vaultPath, "delete-vault", s.deleteVault)
	add("PUT", vaultPath+"/accesspolicies/{kind}", "put-access-policies", s.putPolicies)
	add("GET", vaultPath+"/keys", "list-vault-keys", s.listVaultKeys)
	add("PUT", vaultPath+"/keys/{key}", "put-vault-key", s.putVaultKey)
	add("GET", vaultPath+"/keys/{key}", "get-vault-key", s.getVaultKey)
	add("GET", subscriptionPath+"/providers/Microsoft.KeyVault/deletedvaults", "list-deleted-vaults", s.listDeletedVaults)
	add("GET", deletedPath, "get-deleted-vault", s.getDeletedVault)
	add("POST", deletedPath+"/purge", "purge-vault", s.purgeVault)

	add("GET", subscriptionPath+"/providers/"+clusterType, "list-clusters", s.listClusters)
	add("GET", groupPath+"/providers/"+clusterType, "list-clusters", s.listClusters)
	add("PUT", clusterPath, "put-cluster", s.putCluster)
	add("GET", clusterPath, "get-cluster", s.getCluster)
	add("POST", clusterPath+"/listclusterusercredential", "list-cluster-user-credential", s.listClusterUserCredential)
	add("DELETE", clusterPath, "delete-cluster", s.deleteCluster)

	add("GET", "{scope...}/providers/"+assignmentType, "list-role-assignments", s.listAssignments)
	add("PUT", "{scope...}/providers/"+assignmentType+"/{assignment}", "put-role-assignment", s.putAssignment)
	add("GET", "{scope...}/providers/"+assignmentType+"/{assignment}", "get-role-assignment", s.getAssignment)
	add("DELETE", "{scope...}/providers/"+assignmentType+"/{assignment}", "delete-role-assignment", s.deleteAssignment)
	return routes
}
