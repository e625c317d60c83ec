package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/fault"
)

func judgeIdentity(f *Facts) verdict {
	const expected = "the client id of a managed identity, and its tenant"
	if !f.usesAzure() {
		return skipped(noFileOverAzure)
	}
	if f.ServiceAcc == nil {
		return unseen("the ServiceAccount's annotations (see service account)")
	}
	a := &f.Azure
	id := a.identityOf(f.ClientID)
	if f.Exchanged && f.Exchange == nil {
		if id != nil {
			return fine("it is " + id.Name + " in group " + id.Group)
		}
		return fine("Entra ID signs the client in; Resource Manager shows no identity of that client id here")
	}
	if id != nil && f.TenantID != "" && !strings.EqualFold(id.TenantID, f.TenantID) && !strings.Contains(f.TenantID, ".") {
		fa := identity.Foresee(90002, fmt.Sprintf("the annotation names tenant %s, identity %s is in tenant %s", f.TenantID, id.Name, id.TenantID), f.signIn(), f.Token.Claims)
		if v := f.foreignVault(); v != nil { // before Entra ID is asked, the vault has said the same
			fa = identity.OtherTenant(f.signIn(), v.Tenant)
			fa.Why += "; identity " + id.Name + " is in tenant " + id.TenantID + ", and"
		} else {
			fa.Why = ""
		}
		fa.Why = strings.TrimSpace(fa.Why + " the identity signs in to its own tenant alone")
		return broken(fa, "tenant "+id.TenantID, f.tenantRemedy(fa))
	}
	if id == nil && a.Looked {
		for _, other := range a.Identities {
			what := ""
			switch {
			case strings.EqualFold(other.PrincipalID, f.ClientID):
				what = "the principal (object) id"
			case strings.EqualFold(other.ID, f.ClientID):
				what = "the resource id"
			}
			if what == "" {
				continue
			}
			fa := identity.Foresee(700016, fmt.Sprintf("the annotation holds %s of identity %s, not its client id", what, other.Name), f.signIn(), f.Token.Claims)
			r := f.annotate(clientAnnotation, other.ClientID)
			fa.Fix = r.Commands[0]
			return broken(fa, "client id "+other.ClientID, r)
		}
	}
	if fa := f.exchangeFault("managed identity"); fa != nil {
		var r *Remedy
		switch c := a.Candidate; {
		case fa.Code == "SLU-ENTRA-016" && id == nil && f.foreignVault() != nil:
			fa = identity.OtherTenant(f.signIn(), f.foreignVault().Tenant)
		case fa.Code == "SLU-ENTRA-016":
			r = f.tenantRemedy(fa)
		case c != nil:
			r = f.annotate(clientAnnotation, c.ClientID)
			fa.Fix = r.Commands[0]
			fa.Why += "; the identity that trusts this ServiceAccount, or the only one here, is " + c.Name
		}
		return broken(fa, expected, r)
	}
	switch {
	case id != nil:
		return fine("it is " + id.Name + " in group " + id.Group)
	case !a.Looked:
		return f.needsAzure(a.Err)
	}
	return unseen("the subscription of the identity with client id " + f.ClientID + ", or a token to try")
}

func judgeToken(f *Facts) verdict {
	expected := "a token for audience " + f.audience()
	if !f.usesAzure() {
		return skipped(noFileOverAzure)
	}
	if f.NoNetwork {
		return unseen("the network (--no-network)")
	}
	if f.ServiceAcc == nil {
		return unseen("the ServiceAccount (see service account)")
	}
	c := f.Token.Claims
	if f.Token.Err != nil {
		if v, ok := forbidden(f.Token.Err, "create", "serviceaccounts/token", f.Account.Namespace); ok {
			return v
		}
		fa := identity.Unreadable(f.signIn(), f.Token.Err)
		if c.Issuer == "" && f.tokenText {
			fa = identity.Malformed(f.signIn())
		}
		return broken(fa, expected, f.podRestart(fa))
	}
	if !f.Token.Got {
		return unseen("a client id to ask for (see service account)")
	}
	if !slices.ContainsFunc(c.Audience, f.exchanges) {
		fa := identity.Foresee(700212, "the token is for audience "+strings.Join(c.Audience, ","), f.signIn(), c)
		fa.Why = "Entra ID takes tokens for " + strings.Join(f.Cloud.Audiences(), " or ") + " alone, and the token was asked for another audience"
		r := f.podRestart(fa)
		return broken(fa, expected, r)
	}
	if c.Subject != f.subject() {
		fa := identity.Foresee(700213, "the token is of "+c.Subject, f.signIn(), c)
		fa.Why = "it should be of " + f.subject()
		return broken(fa, expected, f.podRestart(fa))
	}
	if fa := f.exchangeFault("token"); fa != nil {
		return broken(fa, expected, f.podRestart(fa))
	}
	return fine("issuer " + c.Issuer + ", subject " + c.Subject + ", audience " + strings.Join(c.Audience, ","))
}

// podRestart restarts the controller where the token is its pod's own; one by TokenRequest is new already.
func (f *Facts) podRestart(fa *fault.Fault) *Remedy {
	if f.PerObject {
		return nil
	}
	r := f.restart()
	fa.Fix = r.Commands[0]
	return r
}

// cluster is the managed cluster that the kubeconfig leads to, as far as Resource Manager shows it: the one that has the
// token's issuer, else the only one there is.
func (f *Facts) cluster() *Cluster {
	for i := range f.Azure.Clusters {
		if c := &f.Azure.Clusters[i]; c.Issuer != "" && strings.TrimSuffix(c.Issuer, "/") == strings.TrimSuffix(f.Token.Claims.Issuer, "/") {
			return c
		}
	}
	if len(f.Azure.Clusters) == 1 && !f.Azure.Clusters[0].OIDC {
		return &f.Azure.Clusters[0]
	}
	return nil
}

// switchedOff tells that the cluster lacks what makes its tokens worth anything at Entra ID.
func (f *Facts) switchedOff(c *Cluster, seen string) verdict {
	fa := &fault.Fault{
		Code: "SLU-IDENTITY-061", Hop: fault.HopIdentity, Object: "managed cluster " + c.Name, Seen: seen,
		Why: "without the OIDC issuer nobody can verify the cluster's tokens, and without workload identity no pod is given one",
		Fix: fmt.Sprintf("az aks update -g %s -n %s --enable-oidc-issuer --enable-workload-identity", c.Group, c.Name),
	}
	return broken(fa, "OIDC issuer and workload identity on", &Remedy{
		Commands: []string{fa.Fix},
		Requests: []Request{{"PUT", f.management() + c.ID + "?api-version=" + clusterVersion, c.switchedOn()}},
	})
}

// switchedOn is the cluster as Resource Manager gave it, with both switches on; az sends the same.
func (c *Cluster) switchedOn() map[string]any {
	body := map[string]any{}
	for _, name := range []string{"location", "tags", "sku", "identity"} {
		if c.raw[name] != nil {
			body[name] = c.raw[name]
		}
	}
	properties := map[string]any{}
	for k, v := range field[map[string]any](c.raw, "properties") {
		if k != "provisioningState" && k != "powerState" {
			properties[k] = v
		}
	}
	security := map[string]any{}
	for k, v := range field[map[string]any](properties, "securityProfile") {
		security[k] = v
	}
	security["workloadIdentity"] = map[string]any{"enabled": true}
	properties["securityProfile"] = security
	properties["oidcIssuerProfile"] = map[string]any{"enabled": true}
	body["properties"] = properties
	return body
}

func judgeIssuer(f *Facts) verdict {
	const expected = "a public issuer that is on, named as in the token, with the key that signed it"
	i, c := &f.Token.Issuer, f.Token.Claims
	switch {
	case !f.usesAzure():
		return skipped(noFileOverAzure)
	case f.NoNetwork:
		return unseen("the network (--no-network)")
	}
	if mc := f.cluster(); mc != nil {
		switch {
		case !mc.OIDC:
			return f.switchedOff(mc, "the OIDC issuer of cluster "+mc.Name+" is off")
		case !mc.WorkloadIdentity && !f.PerObject:
			return f.switchedOff(mc, "workload identity of cluster "+mc.Name+" is off")
		}
	}
	if !f.Token.Got {
		return unseen("a token, to know its issuer (see token)")
	}
	exchanged := f.Exchanged && f.Exchange == nil
	if fa := f.exchangeFault("issuer"); fa != nil {
		var r *Remedy
		if fa.Code == "SLU-ENTRA-010" {
			r = f.podRestart(fa)
		} else if mc := f.cluster(); mc != nil {
			r = &Remedy{
				Commands: []string{fmt.Sprintf("az aks update -g %s -n %s --enable-oidc-issuer", mc.Group, mc.Name)},
				Requests: []Request{{"PUT", f.management() + mc.ID + "?api-version=" + clusterVersion, mc.switchedOn()}},
			}
			fa.Fix = r.Commands[0]
		}
		return broken(fa, expected, r)
	}
	foresee := func(code int, seen string) verdict {
		return broken(identity.Foresee(code, seen, f.signIn(), c), expected, nil)
	}
	switch {
	case exchanged:
		return fine(c.Issuer + " is trusted, and publishes the key " + c.KeyID)
	case !i.Looked:
		return foresee(501661, "the issuer "+c.Issuer+" is no https URL")
	case i.Err != nil:
		return foresee(501661, i.Err.Error())
	case i.Issuer != c.Issuer:
		return foresee(501661, fmt.Sprintf("the discovery document names the issuer %s, the token %s: %s", i.Issuer, c.Issuer, difference(i.Issuer, c.Issuer)))
	case !has(i.KeyIDs, c.KeyID):
		return foresee(7000272, "the token's key "+c.KeyID+" is not among the published "+strings.Join(i.KeyIDs, ", "))
	}
	return fine(c.Issuer + " publishes the key " + c.KeyID)
}

func has(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
