package arm

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
)

// CryptoUser is the role definition "Key Vault Crypto User": read keys, encrypt and decrypt with them.
const CryptoUser = "12338af0-0e69-4776-bea7-57ae8d297424"

// HasRole says whether a principal has a role at a scope (a resource id) or above it.
func (c *Client) HasRole(ctx context.Context, scope, principalID, role string) (bool, error) {
	// principalId eq '…' finds assignments below the scope too; those of a vault's single keys are no grant of the vault.
	o := &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: ref("principalId eq '" + principalID + "'")}
	for pager := c.assignments.NewListForScopePager(scope, o); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return false, explain(err, "role assignments of "+scope)
		}
		for _, a := range page.Value {
			if a == nil {
				continue
			}
			p := deref(a.Properties)
			at := strings.ToLower(deref(p.Scope))
			if strings.EqualFold(deref(p.PrincipalID), principalID) && strings.HasSuffix(strings.ToLower(deref(p.RoleDefinitionID)), "/"+role) &&
				(at == "/" || strings.HasPrefix(strings.ToLower(scope)+"/", strings.TrimSuffix(at, "/")+"/")) {
				return true, nil
			}
		}
	}
	return false, nil
}

// EnsureRole gives a principal a role at a scope. kind is User or ServicePrincipal: named, Azure takes an identity that
// is so new that the directory does not know it everywhere. The assignment's name follows from what it says, so that
// two at once make one.
func (c *Client) EnsureRole(ctx context.Context, scope, principalID, kind, role string) (changed bool, err error) {
	has, err := c.HasRole(ctx, scope, principalID, role)
	if has || err != nil {
		return false, err
	}
	err = patiently(ctx, func() error {
		_, err := c.assignments.Create(ctx, scope, assignmentName(scope, principalID, role), armauthorization.RoleAssignmentCreateParameters{
			Properties: &armauthorization.RoleAssignmentProperties{
				PrincipalID: &principalID, PrincipalType: ref(armauthorization.PrincipalType(kind)),
				RoleDefinitionID: ref("/subscriptions/" + c.subscription + "/providers/Microsoft.Authorization/roleDefinitions/" + role),
			},
		}, nil)
		return err
	}, "PrincipalNotFound")
	if codeOf(err) == "RoleAssignmentExists" {
		return false, nil
	}
	return err == nil, instead(explain(err, "role assignment on "+scope),
		"az role assignment create --assignee $(az ad signed-in-user show --query id -o tsv) --role \"Role Based Access Control Administrator\" --scope "+scope+" (by an owner; Contributor may not give roles)")
}

// assignmentName is a GUID (version 8: of our own making) made of a digest.
func assignmentName(scope, principalID, role string) string {
	b := sha256.Sum256([]byte(strings.ToLower(scope + "\n" + principalID + "\n" + role)))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
