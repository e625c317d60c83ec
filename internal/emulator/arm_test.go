package emulator_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gitops/sluice/internal/emulator"
)

func federation(issuer, subject string, audiences ...string) object {
	return object{"properties": object{"issuer": issuer, "subject": subject, "audiences": audiences}}
}

func vaultBody(a *azure, extra object) object {
	properties := object{"tenantId": a.Env().TenantID, "sku": object{"family": "A", "name": "standard"}}
	for k, v := range extra {
		properties[k] = v
	}
	return object{"location": "westeurope", "properties": properties}
}

func TestResourceManagerRefusesAsAzureDoes(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	const fics = identityPath + "/federatedIdentityCredentials/"
	const vaults = group + "/providers/Microsoft.KeyVault/vaults/"
	for name, tt := range map[string]struct {
		method, path string
		body         any
		status       int
		code         string
	}{
		"group in another case":    {"GET", "/resourceGroups/RG", nil, 200, ""},
		"identity in another case": {"GET", strings.ToUpper(identityPath), nil, 200, ""},
		"group":                    {"GET", "/resourcegroups/absent", nil, 404, "ResourceGroupNotFound"},
		"identity":                 {"GET", identityPath + "x", nil, 404, "ResourceNotFound"},
		"vault":                    {"GET", vaults + "absent", nil, 404, "ResourceNotFound"},
		"cluster":                  {"GET", group + "/providers/Microsoft.ContainerService/managedClusters/absent", nil, 404, "ResourceNotFound"},
		"credential":               {"GET", fics + "absent", nil, 404, "ResourceNotFound"},
		"unknown type":             {"GET", group + "/providers/Microsoft.Storage/storageAccounts/x", nil, 404, "InvalidResourceType"},
		"method":                   {"POST", vaultPath, nil, 405, "MethodNotAllowed"},
		"group without a place":    {"PUT", "/resourcegroups/new", object{}, 400, "LocationRequired"},
		"group elsewhere":          {"PUT", group, object{"location": "eastus"}, 409, "InvalidResourceGroupLocation"},
		"identity without group":   {"PUT", "/resourcegroups/absent/providers/Microsoft.ManagedIdentity/userAssignedIdentities/flux", object{"location": "w"}, 404, "ResourceGroupNotFound"},
		"no JSON":                  {"PUT", group, "x", 400, "InvalidRequestContent"},
		"credential twice":         {"PUT", fics + "again", federation(a.Env().IssuerURL, subject, audience), 400, "BadRequest"},
		"credential name":          {"PUT", fics + "_x", federation("https://x/", "s", "a"), 400, "BadRequest"},
		"two audiences":            {"PUT", fics + "two", federation("https://x/", "s", "a", "b"), 400, "BadRequest"},
		"no audience":              {"PUT", fics + "none", federation("https://x/", "s"), 400, "BadRequest"},
		"plain issuer":             {"PUT", fics + "plain", federation("http://x/", "s", "a"), 400, "BadRequest"},
		"wildcard":                 {"PUT", fics + "wild", federation("https://x/", "s*", "a"), 400, "BadRequest"},
		"vault name":               {"PUT", vaults + "a--b", vaultBody(a, nil), 400, "VaultNameNotValid"},
		"vault without a tenant":   {"PUT", vaults + "other", vaultBody(a, object{"tenantId": ""}), 400, "BadRequest"},
		"vault without a SKU":      {"PUT", vaults + "other", vaultBody(a, object{"sku": nil}), 400, "BadRequest"},
		"unknown permission":       {"PUT", vaultPath + "/accessPolicies/add", object{"properties": object{"accessPolicies": []any{a.policy("o", "fly")}}}, 400, "BadRequest"},
		"kind of policy change":    {"PUT", vaultPath + "/accessPolicies/merge", object{}, 400, "BadRequest"},
		"key type":                 {"PUT", vaultPath + "/keys/ec", object{"properties": object{"kty": "EC"}}, 400, "BadRequest"},
		"cluster identity":         {"PUT", group + "/providers/Microsoft.ContainerService/managedClusters/c", object{"location": "w", "properties": object{"securityProfile": object{"workloadIdentity": object{"enabled": true}}}}, 400, "InvalidParameter"},
	} {
		t.Run(name, func(t *testing.T) {
			r := a.arm(tt.method, tt.path, tt.body)
			if r.status != tt.status {
				t.Fatalf("status %d, want %d: %s", r.status, tt.status, r.body)
			}
			if got := dig(r.json(t), "error", "code"); tt.code != "" && got != tt.code {
				t.Errorf("code %v, want %s", got, tt.code)
			}
		})
	}
}

func TestResourceManagerJudgesTheCaller(t *testing.T) {
	a, clientID := onboarded(t, emulator.Options{})
	root, sub := "https://management.azure.com/subscriptions", "/"+a.Env().SubscriptionID
	stranger := a.do("POST", a.tokenURL(), "", form{
		"grant_type": "client_credentials", "scope": "https://management.azure.com/.default", "client_id": clientID,
		"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion": a.assertion(nil),
	}.encode()).json(t)["access_token"].(string)
	mine := a.developerToken("https://management.azure.com")
	for name, tt := range map[string]struct {
		url, token string
		status     int
		code       string
	}{
		"developer":            {root + sub + "?api-version=1", mine, 200, ""},
		"older audience":       {root + sub + "?api-version=1", a.developerToken("https://management.core.windows.net/"), 200, ""},
		"stranger":             {root + sub + "/resourcegroups?api-version=1", stranger, 403, "AuthorizationFailed"},
		"stranger's list":      {root + "?api-version=1", stranger, 200, ""},
		"no token":             {root + "?api-version=1", "", 401, "AuthenticationFailed"},
		"no JWT":               {root + "?api-version=1", "x", 401, "InvalidAuthenticationToken"},
		"audience":             {root + "?api-version=1", a.developerToken("https://vault.azure.net"), 401, "InvalidAuthenticationTokenAudience"},
		"unknown subscription": {root + "/00000000-0000-0000-0000-000000000000?api-version=1", mine, 404, "SubscriptionNotFound"},
		"no version":           {root + sub, mine, 400, "MissingApiVersionParameter"},
	} {
		t.Run(name, func(t *testing.T) {
			r := a.do("GET", tt.url, tt.token, nil)
			if r.status != tt.status || tt.code != "" && dig(r.json(t), "error", "code") != tt.code {
				t.Errorf("%d %s, want %d %s", r.status, r.body, tt.status, tt.code)
			}
			if tt.status == 401 && r.header.Get("WWW-Authenticate") == "" {
				t.Error("no challenge")
			}
		})
	}
}

func TestAnIdentityHoldsTwentyCredentials(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{}) // one already
	for n := 2; n <= 21; n++ {
		r := a.arm("PUT", fmt.Sprintf("%s/federatedIdentityCredentials/fic%d", identityPath, n), federation("https://x/", fmt.Sprint(n), "a"))
		if want := map[bool]int{true: 201, false: 400}[n <= 20]; r.status != want {
			t.Errorf("credential %d: %d, want %d", n, r.status, want)
		}
	}
	if r := a.arm("DELETE", identityPath+"/federatedIdentityCredentials/fic2", nil); r.status != 200 {
		t.Errorf("delete: %d", r.status)
	}
	if r := a.arm("DELETE", identityPath+"/federatedIdentityCredentials/fic2", nil); r.status != 204 {
		t.Errorf("delete again: %d", r.status)
	}
}

func TestConcurrentCredentialWritesMeetAConflictOrSucceed(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	var all sync.WaitGroup
	var made, refused sync.Map
	for n := range 10 {
		all.Go(func() {
			r := a.arm("PUT", fmt.Sprintf("%s/federatedIdentityCredentials/fic%d", identityPath, n), federation("https://x/", fmt.Sprint(n), "a"))
			switch {
			case r.status == 201:
				made.Store(n, true)
			case r.status == 409 && strings.Contains(string(r.body), "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity"):
				refused.Store(n, true)
			default:
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	all.Wait()
	list := a.mustARM("GET", identityPath+"/federatedIdentityCredentials", nil)["value"].([]any)
	count := 1
	made.Range(func(any, any) bool { count++; return true })
	if len(list) != count {
		t.Errorf("%d credentials, want the %d that were acknowledged", len(list), count)
	}
}

func TestAccessPoliciesChangeOnlyWhoTheyName(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	const other = "aaaaaaaa-2222-3333-4444-555555555555"
	verbs := func() string {
		for _, p := range dig(a.mustARM("GET", vaultPath, nil), "properties", "accessPolicies").([]any) {
			if dig(p, "objectId") == other {
				return fmt.Sprint(dig(p, "permissions", "keys"))
			}
		}
		return "none"
	}
	for _, tt := range []struct{ kind, verb, want string }{
		{"add", "get", "[get]"}, {"add", "decrypt", "[get decrypt]"}, {"add", "GET", "[get decrypt]"},
		{"remove", "get", "[decrypt]"}, {"replace", "list", "[list]"}, {"remove", "list", "none"},
	} {
		a.mustARM("PUT", vaultPath+"/accessPolicies/"+tt.kind, object{"properties": object{"accessPolicies": []any{a.policy(other, tt.verb)}}})
		if got := verbs(); got != tt.want {
			t.Errorf("after %s %s: %s, want %s", tt.kind, tt.verb, got, tt.want)
		}
	}
	if n := len(dig(a.mustARM("GET", vaultPath, nil), "properties", "accessPolicies").([]any)); n != 2 {
		t.Errorf("%d policies, want the two that were there", n)
	}
}

func TestDeletedVaultsKeepNameAndKeysUntilPurged(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	const deleted = "/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/sample"
	uri := dig(a.mustARM("GET", vaultPath+"/keys/sops", nil), "properties", "keyUriWithVersion")
	a.mustARM("DELETE", vaultPath, nil)
	if _, err := a.HTTP.Get("https://sample.vault.azure.net/keys"); err == nil || !strings.Contains(err.Error(), "Bad Gateway") {
		// A kept connection may still reach the service, which then knows no vault.
		if r := a.do("GET", "https://sample.vault.azure.net/keys", "", nil); r.status != 404 {
			t.Errorf("a deleted vault answers %d", r.status)
		}
	}
	if r := a.arm("PUT", vaultPath, vaultBody(a, nil)); r.status != 409 || dig(r.json(t), "error", "code") != "ConflictError" {
		t.Errorf("recreate: %d %s", r.status, r.body)
	}
	a.mustARM("GET", deleted, nil)
	a.mustARM("PUT", vaultPath, vaultBody(a, object{"createMode": "recover"}))
	if got := dig(a.mustARM("GET", vaultPath+"/keys/sops", nil), "properties", "keyUriWithVersion"); got != uri {
		t.Errorf("recovered key %v, want %v", got, uri)
	}
	a.mustARM("DELETE", vaultPath, nil)
	a.mustARM("POST", deleted+"/purge", nil)
	if r := a.arm("PUT", vaultPath, vaultBody(a, nil)); r.status != 201 {
		t.Errorf("create after purge: %d %s", r.status, r.body)
	}
}

func TestNewerVersionsDefaultToRoles(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	token := a.developerToken("https://management.azure.com")
	for version, want := range map[string]bool{"2024-11-01": false, "2026-02-01": true} {
		url := "https://management.azure.com/subscriptions/" + a.Env().SubscriptionID + group +
			"/providers/Microsoft.KeyVault/vaults/v" + version + "?api-version=" + version
		r := a.do("PUT", url, token, vaultBody(a, nil))
		if got := dig(r.json(t), "properties", "enableRbacAuthorization"); got != want {
			t.Errorf("%s: roles %v, want %v (%d)", version, got, want, r.status)
		}
	}
}

func TestRoleAssignmentsOpenVaultsThatUseThem(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	const byRole = group + "/providers/Microsoft.KeyVault/vaults/byrole"
	a.mustARM("PUT", byRole, vaultBody(a, object{"enableRbacAuthorization": true, "accessPolicies": []any{a.policy(a.Env().DeveloperObjectID, "all")}}))
	a.mustARM("PUT", byRole+"/keys/sops", object{"properties": object{"kty": "RSA", "keySize": 2048}})
	token := a.developerToken("https://vault.azure.net")
	get := func() int {
		return a.do("GET", "https://byrole.vault.azure.net/keys/sops?api-version=7.4", token, nil).status
	}
	if status := get(); status != http.StatusForbidden {
		t.Fatalf("without a role: %d", status)
	}
	const assignment = byRole + "/providers/Microsoft.Authorization/roleAssignments/bbbbbbbb-2222-3333-4444-555555555555"
	a.mustARM("PUT", assignment, object{"properties": object{
		"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/12338af0-0e69-4776-bea7-57ae8d297424",
		"principalId":      a.Env().DeveloperObjectID,
	}})
	if status := get(); status != 200 {
		t.Errorf("with the role: %d", status)
	}
	if status := a.do("DELETE", "https://byrole.vault.azure.net/keys/sops?api-version=7.4", token, nil).status; status != 403 {
		t.Errorf("beyond the role: %d", status)
	}
	if n := len(a.mustARM("GET", byRole+"/providers/Microsoft.Authorization/roleAssignments", nil)["value"].([]any)); n != 1 {
		t.Errorf("%d assignments listed", n)
	}
	a.mustARM("DELETE", assignment, nil)
	if status := get(); status != http.StatusForbidden {
		t.Errorf("role taken away: %d", status)
	}
}

func TestClusterShowsThePlatformsIssuer(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	const cluster = group + "/providers/Microsoft.ContainerService/managedClusters/aks"
	a.mustARM("PUT", cluster, object{"location": "westeurope", "properties": object{
		"dnsPrefix": "aks", "oidcIssuerProfile": object{"enabled": true}, "securityProfile": object{"workloadIdentity": object{"enabled": true}},
	}})
	got := a.mustARM("GET", cluster, nil)
	if dig(got, "properties", "oidcIssuerProfile", "issuerURL") != a.Env().IssuerURL ||
		dig(got, "properties", "securityProfile", "workloadIdentity", "enabled") != true || dig(got, "properties", "dnsPrefix") != "aks" ||
		dig(got, "properties", "servicePrincipalProfile", "clientId") != "msi" {
		t.Errorf("%v", got)
	}
	if n := len(a.mustARM("GET", "/providers/Microsoft.ContainerService/managedClusters", nil)["value"].([]any)); n != 1 {
		t.Errorf("%d clusters listed", n)
	}
	found := a.mustARM("GET", "/resources?$filter=resourceType%20eq%20'Microsoft.KeyVault/vaults'%20and%20name%20eq%20'SAMPLE'", nil)["value"].([]any)
	if len(found) != 1 || dig(found[0], "name") != "sample" {
		t.Errorf("resources: %v", found)
	}
}

func TestDeletingAGroupTakesItsResourcesAlong(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	a.mustARM("DELETE", group, nil)
	if r := a.arm("HEAD", group, nil); r.status != 404 {
		t.Errorf("HEAD: %d", r.status)
	}
	if n := len(a.mustARM("GET", "/providers/Microsoft.ManagedIdentity/userAssignedIdentities", nil)["value"].([]any)); n != 0 {
		t.Errorf("%d identities left", n)
	}
}
