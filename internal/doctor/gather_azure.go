package doctor

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

type azPolicy = policy.Policy

const (
	subscriptionVersion = "2022-12-01"
	identityVersion     = "2024-11-30"
	clusterVersion      = "2025-05-01"
	vaultVersion        = "2024-11-01"
	assignmentVersion   = "2022-04-01"
	keyVersion          = "7.4"
)

var (
	errNoAzure        = errors.New("there is no Azure sign-in")
	errNoSubscription = errors.New("no subscription is to be seen with this sign-in")
)

// management is the Resource Manager of the chain's cloud.
func (f *Facts) management() string { return f.Cloud.Management() }

// page is one answer of a list of Resource Manager.
type page[T any] struct {
	Value []T    `json:"value"`
	Next  string `json:"nextLink"`
}

// list reads all pages of a list.
func list[T any](ctx context.Context, o Options, f *Facts, path, version string) (all []T, err error) {
	next := f.management() + path + "?api-version=" + version
	for next != "" {
		if !strings.HasPrefix(next, f.management()+"/") {
			return nil, errors.New("a list goes on at another host")
		}
		var p page[T]
		if err := call(ctx, o.Azure, o.AzureOptions, Request{Method: http.MethodGet, URL: next}, &p); err != nil {
			return nil, err
		}
		all, next = append(all, p.Value...), p.Next
	}
	return all, nil
}

// each lists a kind of resource in every subscription.
func each[T any](ctx context.Context, o Options, f *Facts, subscriptions []string, kind, version string) (all []T, err error) {
	for _, s := range subscriptions {
		found, err := list[T](ctx, o, f, "/subscriptions/"+s+"/providers/"+kind, version)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// gatherAzure reads what Resource Manager knows. A reader of the subscription may do all of it.
func gatherAzure(ctx context.Context, o Options, f *Facts) {
	a := &f.Azure
	if o.Azure == nil {
		a.Err = errNoAzure
		return
	}
	subscriptions := []string{o.Subscription}
	if o.Subscription == "" {
		found, err := list[struct {
			ID string `json:"subscriptionId"`
		}](ctx, o, f, "/subscriptions", subscriptionVersion)
		if a.Err = err; err != nil {
			return
		}
		subscriptions = nil
		for _, s := range found {
			subscriptions = append(subscriptions, s.ID)
		}
	}
	if len(subscriptions) == 0 {
		a.Err = errNoSubscription
		return
	}
	identities, err := each[struct {
		ID         string `json:"id"`
		Name       string `json:"name"`
		Properties struct {
			ClientID    string `json:"clientId"`
			PrincipalID string `json:"principalId"`
			TenantID    string `json:"tenantId"`
		} `json:"properties"`
	}](ctx, o, f, subscriptions, "Microsoft.ManagedIdentity/userAssignedIdentities", identityVersion)
	if a.Err = err; err != nil {
		return
	}
	a.Looked = true
	for _, i := range identities {
		p := i.Properties
		a.Identities = append(a.Identities, Identity{i.ID, i.Name, groupOf(i.ID), p.ClientID, p.PrincipalID, p.TenantID})
	}
	gatherFederations(ctx, o, f)
	gatherClusters(ctx, o, f, subscriptions)
	gatherARMVaults(ctx, o, f, subscriptions)
}

var inGroup = lazyregexp.New(`(?i)/resourceGroups/([^/]+)/`)

func groupOf(id string) string {
	if m := inGroup.FindStringSubmatch(id); m != nil {
		return m[1]
	}
	return ""
}

// identityOf returns the managed identity with the client id, nil if Resource Manager knows none.
func (a *AzureFacts) identityOf(clientID string) *Identity {
	for i := range a.Identities {
		if strings.EqualFold(a.Identities[i].ClientID, clientID) {
			return &a.Identities[i]
		}
	}
	return nil
}

// gatherFederations reads the federated credentials of the identity that the account names. Where it names none that
// there is, the identity that has one for this account, or the only one, is what was probably meant.
func gatherFederations(ctx context.Context, o Options, f *Facts) {
	a := &f.Azure
	if id := a.identityOf(f.ClientID); id != nil {
		a.Federations, a.FedErr = federationsOf(ctx, o, f, id)
		return
	}
	if len(a.Identities) == 1 {
		a.Candidate = &a.Identities[0]
		return
	}
	for i := range a.Identities {
		found, _ := federationsOf(ctx, o, f, &a.Identities[i]) // one that cannot be read is no candidate
		if slices.ContainsFunc(found, func(c Federation) bool { return c.Subject == f.subject() }) {
			a.Candidate = &a.Identities[i]
			return
		}
	}
}

func federationsOf(ctx context.Context, o Options, f *Facts, id *Identity) (all []Federation, err error) {
	found, err := list[struct {
		ID         string `json:"id"`
		Name       string `json:"name"`
		Properties struct {
			Issuer    string   `json:"issuer"`
			Subject   string   `json:"subject"`
			Audiences []string `json:"audiences"`
		} `json:"properties"`
	}](ctx, o, f, id.ID+"/federatedIdentityCredentials", identityVersion)
	for _, c := range found {
		all = append(all, Federation{c.ID, c.Name, c.Properties.Issuer, c.Properties.Subject, c.Properties.Audiences})
	}
	return all, err
}

func gatherClusters(ctx context.Context, o Options, f *Facts, subscriptions []string) {
	found, err := each[map[string]any](ctx, o, f, subscriptions, "Microsoft.ContainerService/managedClusters", clusterVersion)
	f.Azure.ClusterErr = err
	for _, c := range found {
		id, name := field[string](c, "id"), field[string](c, "name")
		f.Azure.Clusters = append(f.Azure.Clusters, Cluster{
			ID: id, Name: name, Group: groupOf(id), raw: c,
			Issuer: field[string](c, "properties", "oidcIssuerProfile", "issuerURL"), FQDN: field[string](c, "properties", "fqdn"),
			OIDC:             field[bool](c, "properties", "oidcIssuerProfile", "enabled"),
			WorkloadIdentity: field[bool](c, "properties", "securityProfile", "workloadIdentity", "enabled"),
		})
	}
}

// field reads a value under nested objects; the zero value if there is none of its type.
func field[T any](o map[string]any, path ...string) (value T) {
	for _, name := range path[:len(path)-1] {
		o, _ = o[name].(map[string]any)
	}
	value, _ = o[path[len(path)-1]].(T)
	return value
}

// gatherARMVaults reads the vaults that the documents name, with their roles where roles decide.
func gatherARMVaults(ctx context.Context, o Options, f *Facts, subscriptions []string) {
	a := &f.Azure
	found, err := each[struct {
		ID         string `json:"id"`
		Name       string `json:"name"`
		Properties struct {
			TenantID string `json:"tenantId"`
			RBAC     bool   `json:"enableRbacAuthorization"`
			Policies []struct {
				TenantID    string `json:"tenantId"`
				ObjectID    string `json:"objectId"`
				Permissions struct {
					Keys []string `json:"keys"`
				} `json:"permissions"`
			} `json:"accessPolicies"`
		} `json:"properties"`
	}](ctx, o, f, subscriptions, "Microsoft.KeyVault/vaults", vaultVersion)
	if a.VaultErr = err; err != nil {
		return
	}
	for _, v := range found {
		out := Vault{ID: v.ID, Name: v.Name, Group: groupOf(v.ID), TenantID: v.Properties.TenantID, RBAC: v.Properties.RBAC}
		for _, p := range v.Properties.Policies {
			out.Policies = append(out.Policies, Policy{p.TenantID, p.ObjectID, p.Permissions.Keys})
		}
		if out.RBAC {
			out.Roles, out.RolesErr = gatherRoles(ctx, o, f, v.ID)
		}
		a.Vaults = append(a.Vaults, out)
	}
	deleted, err := each[struct {
		Name       string `json:"name"`
		Properties struct {
			ID       string `json:"vaultId"`
			Location string `json:"location"`
		} `json:"properties"`
	}](ctx, o, f, subscriptions, "Microsoft.KeyVault/deletedVaults", vaultVersion)
	if err == nil { // a right of its own; without it a deleted vault is told as one that does not resolve
		for _, d := range deleted {
			a.Deleted = append(a.Deleted, DeletedVault{d.Name, d.Properties.ID, d.Properties.Location})
		}
	}
}

func gatherRoles(ctx context.Context, o Options, f *Facts, vault string) (roles []Role, err error) {
	found, err := list[struct {
		Properties struct {
			PrincipalID string `json:"principalId"`
			RoleID      string `json:"roleDefinitionId"`
			Scope       string `json:"scope"`
		} `json:"properties"`
	}](ctx, o, f, vault+"/providers/Microsoft.Authorization/roleAssignments", assignmentVersion)
	for _, r := range found {
		p := r.Properties
		roles = append(roles, Role{p.PrincipalID, p.RoleID[strings.LastIndex(p.RoleID, "/")+1:], p.Scope})
	}
	return roles, err
}

// vaultOf returns what Resource Manager knows of the vault of a key.
func (a *AzureFacts) vaultOf(id keyvault.KeyID) *Vault {
	for i := range a.Vaults {
		if strings.EqualFold(a.Vaults[i].Name, id.VaultName()) {
			return &a.Vaults[i]
		}
	}
	return nil
}

// challenge finds the tenant in a vault's WWW-Authenticate.
var challenge = lazyregexp.New(`authorization(?:_uri)?="https://[^/"]+/([^/"]+)`)

// gatherVaults asks each vault that a document names without a token: whoever answers with a challenge is there.
func gatherVaults(ctx context.Context, o Options, f *Facts) {
	seen := map[string]bool{}
	for _, id := range f.vaultKeys() {
		if seen[strings.ToLower(id.Vault)] {
			continue
		}
		seen[strings.ToLower(id.Vault)] = true
		v := VaultFacts{Key: id}
		res, err := get(ctx, o, id.String()+"?api-version="+keyVersion)
		switch {
		case err != nil:
			v.Err = keyvault.Unreachable(err, id)
		default:
			_ = res.Body.Close()
			if m := challenge.FindStringSubmatch(res.Header.Get("WWW-Authenticate")); m != nil {
				v.Tenant = m[1]
			} else if res.StatusCode == http.StatusForbidden {
				v.Err = keyvault.Foresee(res.StatusCode, "ForbiddenByFirewall", "the vault refused before it asked for a token", id, "decrypt")
			} else {
				v.Err = keyvault.Unreachable(errors.New("its answer holds no WWW-Authenticate"), id)
			}
		}
		f.Vaults = append(f.Vaults, v)
	}
}
