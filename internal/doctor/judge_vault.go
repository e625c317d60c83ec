package doctor

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// cryptoUser is the built-in role Key Vault Crypto User.
const cryptoUser = "12338af0-0e69-4776-bea7-57ae8d297424"

// decrypting are the built-in roles that hold keys/decrypt.
var decrypting = []string{cryptoUser, "14b46e9e-c2b7-41b4-b07b-48a6ebf60603", "00482a5a-887f-4fb3-b363-3b7fe8e74483"}

// atVault answers for the hops from the vault on where nothing leads to one; ok is false where something does.
func (f *Facts) atVault() (v verdict, ok bool) {
	switch {
	case !f.usesAzure():
		return skipped(noFileOverAzure), true
	case f.NoNetwork:
		return unseen("the network (--no-network)"), true
	case len(f.vaultKeys()) == 0 && f.Source.Revision != "":
		return skipped(noFileOverAzure), true
	case len(f.vaultKeys()) == 0:
		return unseen("a file that names a key (see source)"), true
	}
	return verdict{}, false
}

func judgeVault(f *Facts) verdict {
	const expected = "a vault that answers, of the identity's tenant"
	if v, ok := f.atVault(); ok {
		return v
	}
	var names []string
	for _, v := range f.Vaults {
		if v.Err != nil {
			return f.vaultGone(&v, expected)
		}
		names = append(names, v.Key.VaultName())
	}
	if v := f.foreignVault(); v != nil {
		return f.otherTenant(v, expected)
	}
	if fa, d := f.trialFault("vault"); fa != nil {
		r := &Remedy{Commands: []string{fa.Fix}}
		if fa.Code == "SLU-VAULT-006" {
			r = f.moveVault(fa, d.Keys[0])
		}
		return broken(fa, expected, r)
	}
	return fine(strings.Join(names, ", ") + " answers, of tenant " + f.Vaults[0].Tenant)
}

// foreignVault is a vault that belongs to another tenant than the identity signs in to, nil if none does. A tenant may be
// named by a domain, which tells nothing.
func (f *Facts) foreignVault() *VaultFacts {
	for i := range f.Vaults {
		if v := &f.Vaults[i]; v.Tenant != "" && f.TenantID != "" && !strings.EqualFold(v.Tenant, f.TenantID) && !strings.Contains(f.TenantID, ".") {
			return v
		}
	}
	return nil
}

func (f *Facts) vaultGone(v *VaultFacts, expected string) verdict {
	fa := told(v.Err)
	r := &Remedy{}
	if f.Azure.Looked && f.Azure.VaultErr == nil && f.Azure.vaultOf(v.Key) == nil {
		fa.Why = "no vault of that name is in the subscriptions that you see: it was deleted for good, belongs to another, or the file names it wrongly"
		fa.Fix = "az keyvault list --query \"[].{name:name,uri:properties.vaultUri}\" -o table, then seal the file for a key that is there: sluice secrets updatekeys <file>"
	}
	for _, d := range f.Azure.Deleted {
		if strings.EqualFold(d.Name, v.Key.VaultName()) {
			fa.Why = "the vault was deleted and can be recovered"
			fa.Fix = "az keyvault recover -n " + d.Name
			r.Requests = []Request{{"PUT", f.management() + d.ID + "?api-version=" + vaultVersion, map[string]any{
				"location": d.Location, "properties": map[string]any{
					"createMode": "recover", "tenantId": f.TenantID, "sku": map[string]any{"family": "A", "name": "standard"},
				},
			}}}
		}
	}
	r.Commands = []string{fa.Fix}
	return broken(fa, expected, r)
}

func (f *Facts) otherTenant(v *VaultFacts, expected string) verdict {
	fa := identity.OtherTenant(f.signIn(), v.Tenant)
	fa.Hop, fa.Object = fault.HopVault, "key vault "+v.Key.VaultName()
	fa.Why += "; it trusts another tenant, or its tenant was not changed after a subscription moved"
	return broken(fa, expected, f.moveVault(fa, v.Key))
}

// moveVault makes the vault trust the identity's tenant, which a vault does not by itself after its subscription moved.
func (f *Facts) moveVault(fa *fault.Fault, id keyvault.KeyID) *Remedy {
	r := &Remedy{}
	if v := f.Azure.vaultOf(id); v != nil {
		fa.Fix = fmt.Sprintf("az keyvault update -g %s -n %s --set properties.tenantId=%s", v.Group, v.Name, f.TenantID)
		r.Requests = []Request{{"PATCH", f.management() + v.ID + "?api-version=" + vaultVersion,
			map[string]any{"properties": map[string]any{"tenantId": f.TenantID}}}}
	}
	r.Commands = []string{fa.Fix}
	return r
}

func judgeAccess(f *Facts) verdict {
	const expected = "the key permission decrypt"
	if v, ok := f.atVault(); ok {
		return v
	}
	if fa, d := f.trialFault("access"); fa != nil {
		return f.noAccess(fa, d.Keys[0], expected)
	}
	if f.proven() {
		return fine("the identity may decrypt")
	}
	if f.tried() { // something after the access decision failed
		return fine("the vault's access decision was passed")
	}
	// No trial: what Resource Manager shows must do.
	id := f.Azure.identityOf(f.ClientID)
	if id == nil || f.Azure.VaultErr != nil {
		return f.needsAzure(orElse(f.Azure.Err, f.Azure.VaultErr))
	}
	for _, key := range f.vaultKeys() {
		v := f.Azure.vaultOf(key)
		if v == nil || v.RBAC && v.RolesErr != nil {
			return unseen("the role Reader on vault " + key.VaultName())
		}
		if !v.allows(id) {
			code := map[bool]string{true: "ForbiddenByRbac", false: "ForbiddenByPolicy"}[v.RBAC]
			return f.noAccess(keyvault.Foresee(403, code, "appid="+id.ClientID+";oid="+id.PrincipalID, key, "decrypt"), key, expected)
		}
	}
	return fine("policies and roles give the identity decrypt; not tried")
}

// tried says that at least one document that needs a vault was tried.
func (f *Facts) tried() bool {
	return slices.ContainsFunc(f.Documents, func(d Document) bool { return d.Tried && len(d.Keys) > 0 })
}

func (v *Vault) allows(id *Identity) bool {
	if v.RBAC {
		return slices.ContainsFunc(v.Roles, func(r Role) bool {
			return strings.EqualFold(r.PrincipalID, id.PrincipalID) && slices.Contains(decrypting, strings.ToLower(r.RoleID))
		})
	}
	return slices.ContainsFunc(v.Policies, func(p Policy) bool {
		return strings.EqualFold(p.ObjectID, id.PrincipalID) && slices.ContainsFunc(p.Keys, func(k string) bool {
			return strings.EqualFold(k, "decrypt") || strings.EqualFold(k, "all")
		})
	})
}

// noAccess gives the identity what it lacks, in the vault's own mode.
func (f *Facts) noAccess(fa *fault.Fault, key keyvault.KeyID, expected string) verdict {
	r := &Remedy{Commands: []string{fa.Fix}}
	id, v := f.Azure.identityOf(f.ClientID), f.Azure.vaultOf(key)
	if id == nil || v == nil {
		return broken(fa, expected, r)
	}
	if v.RBAC {
		if slices.ContainsFunc(v.Roles, func(r Role) bool { return strings.EqualFold(r.PrincipalID, id.ClientID) }) {
			fa.Why += "; a role is assigned to the identity's client id, where its principal id belongs"
		} else if slices.ContainsFunc(v.Policies, func(p Policy) bool { return strings.EqualFold(p.ObjectID, id.PrincipalID) }) {
			fa.Why += "; the access policy that names it does not count in this mode"
		}
		r.Requests = []Request{{"PUT", f.management() + v.ID + "/providers/Microsoft.Authorization/roleAssignments/" + guidOf(v.ID, id.PrincipalID) + "?api-version=" + assignmentVersion,
			map[string]any{"properties": map[string]any{
				"roleDefinitionId": v.ID[:strings.Index(strings.ToLower(v.ID), "/resourcegroups/")] + "/providers/Microsoft.Authorization/roleDefinitions/" + cryptoUser,
				"principalId":      id.PrincipalID, "principalType": "ServicePrincipal",
			}}}}
	} else {
		if slices.ContainsFunc(v.Policies, func(p Policy) bool { return strings.EqualFold(p.ObjectID, id.ClientID) }) {
			fa.Why += "; a policy names the identity's client id, where its principal id belongs"
		}
		r.Requests = []Request{{"PUT", f.management() + v.ID + "/accessPolicies/add?api-version=" + vaultVersion,
			map[string]any{"properties": map[string]any{"accessPolicies": []any{map[string]any{
				"tenantId": v.TenantID, "objectId": id.PrincipalID, "permissions": map[string]any{"keys": []string{"get", "decrypt"}},
			}}}}}}
	}
	return broken(fa, expected, r)
}

// guidOf makes one name of an assignment, so that giving a role twice is giving it once.
func guidOf(parts ...string) string {
	h := sha256.Sum256([]byte(strings.ToLower(strings.Join(parts, "|"))))
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

func judgeKey(f *Facts) verdict {
	const expected = "the version exists, is enabled, and its operations hold decrypt"
	if v, ok := f.atVault(); ok {
		return v
	}
	fa, d := f.trialFault("key")
	if fa == nil {
		if !f.tried() {
			return unseen("a trial decryption as the identity (see token)")
		}
		return fine(f.vaultKeys()[0].String() + " decrypts")
	}
	id := d.Keys[0]
	r := &Remedy{Commands: []string{fa.Fix}}
	base := id.Vault + "/keys/" + id.Name
	update := base + "/" + id.Version + "?api-version=" + keyVersion
	switch fa.Code {
	case "SLU-KEY-001", "SLU-KEY-004":
		r.Requests = []Request{{"POST", id.Vault + "/deletedkeys/" + id.Name + "/recover?api-version=" + keyVersion, nil}}
	case "SLU-KEY-002":
		r.Requests = []Request{{"PATCH", update, map[string]any{"attributes": map[string]any{"enabled": true}}}}
	case "SLU-KEY-003":
		if id.Version != "" {
			fa.Fix = strings.Replace(fa.Fix, " --ops", " --version "+id.Version+" --ops", 1)
		}
		r.Commands = []string{fa.Fix}
		r.Requests = []Request{{"PATCH", update, map[string]any{"key_ops": []string{"encrypt", "decrypt"}}}}
	}
	return broken(fa, expected, r)
}

func judgeUnwrap(f *Facts) verdict {
	if fa, _ := f.trialFault("unwrap"); fa != nil {
		return broken(fa, "the data key in clear", nil)
	}
	return f.opened("unwrapped their data keys")
}

func judgeDocument(f *Facts) verdict {
	if fa, _ := f.trialFault("document"); fa != nil {
		return broken(fa, "every value decrypts, and the MAC is that of the values", nil)
	}
	// Whatever nobody is to blame for above still keeps the file shut.
	for _, d := range f.Documents {
		if d.Tried && d.OpenErr != nil {
			return broken(told(d.OpenErr), "the file opens", nil)
		}
	}
	return f.opened("opened, MAC whole")
}

func (f *Facts) opened(what string) verdict {
	n := 0
	for _, d := range f.Documents {
		if d.Tried {
			n++
		}
	}
	switch {
	case f.Source.Revision == "":
		return unseen("the revision's files (see source)")
	case len(f.Documents) == 0:
		return skipped("the Kustomization reads no encrypted file")
	case n < len(f.Documents) && f.NoNetwork:
		return unseen("the network (--no-network)")
	case n < len(f.Documents):
		return unseen(fmt.Sprintf("a trial decryption of %s (see token and decryption)", count(len(f.Documents)-n, "file")))
	}
	return fine(count(n, "file") + " " + what)
}
