package entra

import (
	"net/url"
	"slices"
	"strings"
)

const defaultScope = "/.default"

// resources are the services that tokens are minted for, as clients may name them. The spelling given becomes the
// token's audience.
var resources = []string{
	"https://vault.azure.net",
	"https://management.azure.com",
	"https://management.core.windows.net",
	"https://graph.microsoft.com",
	"6dae42f8-4368-4678-94ff-3960e28e3630", // the API server of every AKS cluster
	"cfa8b339-82a2-471a-a3c9-0fc0be7a4093", // Key Vault by its application id
}

// resourceOf finds the one resource in a token request: `resource` on the v1 endpoint, else `scope` less the sign-in
// scopes that MSAL adds.
func resourceOf(form url.Values, v1 bool) (string, error) {
	if v1 {
		if resource := form.Get("resource"); resource != "" {
			return known(resource)
		}
		return "", badRequest("invalid_request", 900144, "The request body must contain the following parameter: 'resource'.")
	}
	if form.Get("scope") == "" {
		return "", badRequest("invalid_request", 900144, "The request body must contain the following parameter: 'scope'.")
	}
	wanted := slices.DeleteFunc(strings.Fields(form.Get("scope")), func(scope string) bool {
		return slices.Contains([]string{"openid", "offline_access", "profile", "email"}, scope)
	})
	if len(wanted) != 1 {
		return "", badRequest("invalid_scope", 70011, "The scope '%s' must name exactly one resource.", clip(form.Get("scope")))
	}
	resource, ok := strings.CutSuffix(wanted[0], defaultScope)
	if !ok || resource == "" {
		return "", badRequest("invalid_scope", 1002012,
			"The scope '%s' is not valid: client credential flows need a resource followed by /.default.", clip(wanted[0]))
	}
	return known(resource)
}

func known(resource string) (string, error) {
	if slices.Contains(resources, strings.ToLower(strings.TrimSuffix(resource, "/"))) {
		return resource, nil
	}
	return "", badRequest("invalid_resource", 500011, "The resource principal named %s was not found in the tenant.", clip(resource))
}
