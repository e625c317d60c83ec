package keyvault

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/emulator/entra"
	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// permission is what an operation needs: the verb of an access policy, and the data action of a role.
type permission struct{ verb, action string }

const actionRoot = "Microsoft.KeyVault/vaults/keys/"

var permissions = map[string]permission{
	"get-key":       {"get", actionRoot + "read"},
	"list-keys":     {"list", actionRoot + "read"},
	"list-versions": {"list", actionRoot + "read"},
	"create-key":    {"create", actionRoot + "create/action"},
	"import-key":    {"import", actionRoot + "import/action"},
	"update-key":    {"update", actionRoot + "update/action"},
	"rotate-key":    {"rotate", actionRoot + "rotate/action"},
	"delete-key":    {"delete", actionRoot + "delete"},
	"recover-key":   {"recover", actionRoot + "recover/action"},
	"purge-key":     {"purge", actionRoot + "purge/action"},
	"get-deleted":   {"get", actionRoot + "read"},
	"list-deleted":  {"list", actionRoot + "read"},
	"encrypt":       {"encrypt", actionRoot + "encrypt/action"},
	"decrypt":       {"decrypt", actionRoot + "decrypt/action"},
	"wrapkey":       {"wrapKey", actionRoot + "wrap/action"},
	"unwrapkey":     {"unwrapKey", actionRoot + "unwrap/action"},
}

// roles are the built-in roles that give data actions on keys, by their well-known GUID. "*" stands for all of them.
var roles = map[string][]string{
	"00482a5a-887f-4fb3-b363-3b7fe8e74483": {"*"},                                                                                         // Key Vault Administrator
	"14b46e9e-c2b7-41b4-b07b-48a6ebf60603": {"*"},                                                                                         // Key Vault Crypto Officer
	"12338af0-0e69-4776-bea7-57ae8d297424": {"read", "update/action", "encrypt/action", "decrypt/action", "wrap/action", "unwrap/action"}, // Key Vault Crypto User
	"e147488a-f6f5-4113-8e2d-b22465e65bf6": {"read", "wrap/action", "unwrap/action"},                                                      // Key Vault Crypto Service Encryption User
	"21090545-7ca7-4776-b22c-e363652d74d2": {"read"},                                                                                      // Key Vault Reader
}

// authorize decides whether the caller may do operation on the vault, by role assignments or by access policies as the
// vault is set. Each mode ignores the other's grants.
func authorize(state *store.State, v *store.Vault, caller *entra.Claims, operation, key string) error {
	need, ok := permissions[operation]
	if !ok {
		return fmt.Errorf("operation %s has no permission", operation)
	}
	if v.RBAC {
		return authorizeByRole(state, v, caller, need, key)
	}
	for _, p := range v.Policies {
		if strings.EqualFold(p.ObjectID, caller.ObjectID) && strings.EqualFold(p.TenantID, caller.TenantID) &&
			(p.ApplicationID == "" || strings.EqualFold(p.ApplicationID, caller.AppID)) && grants(p.Permissions.Keys, need.verb) {
			return nil
		}
	}
	return &wire.Failure{
		Status: http.StatusForbidden, Code: "Forbidden", Inner: "ForbiddenByPolicy",
		Message: fmt.Sprintf("The user, group or application '%s' does not have keys %s permission on key vault '%s;location=%s'.",
			nameOf(caller), need.verb, v.Name, v.Location),
	}
}

func nameOf(caller *entra.Claims) string {
	return fmt.Sprintf("appid=%s;oid=%s;iss=%s", caller.AppID, caller.ObjectID, caller.Issuer)
}

func grants(verbs []string, verb string) bool {
	return slices.ContainsFunc(verbs, func(v string) bool { return strings.EqualFold(v, verb) || strings.EqualFold(v, "all") })
}

func authorizeByRole(state *store.State, v *store.Vault, caller *entra.Claims, need permission, key string) error {
	resource := "/subscriptions/" + state.Subscription + "/resourceGroups/" + v.Group + "/providers/Microsoft.KeyVault/vaults/" + v.Name
	if key != "" {
		resource += "/keys/" + key
	}
	for _, a := range state.Assignments {
		if strings.EqualFold(a.PrincipalID, caller.ObjectID) && within(resource, a.Scope) && roleGives(a.RoleID, need.action) {
			return nil
		}
	}
	return &wire.Failure{
		Status: http.StatusForbidden, Code: "Forbidden", Inner: "ForbiddenByRbac",
		Message: fmt.Sprintf("Caller is not authorized to perform action on resource. If role assignments, deny assignments or role "+
			"definitions were changed recently, please observe propagation time. Caller: %s Action: '%s' Resource: '%s' "+
			"Assignment: (not found) DenyAssignmentId: null DecisionReason: null Vault: %s;location=%s",
			nameOf(caller), need.action, store.Fold(resource), v.Name, v.Location),
	}
}

// within says whether resource is scope or lies under it.
func within(resource, scope string) bool {
	resource, scope = store.Fold(resource), strings.TrimSuffix(store.Fold(scope), "/")
	return resource == scope || strings.HasPrefix(resource, scope+"/")
}

func roleGives(role, action string) bool {
	verb := strings.TrimPrefix(action, actionRoot)
	return slices.ContainsFunc(roles[store.Fold(role)], func(given string) bool { return given == "*" || given == verb })
}
