package provision_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aks "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	emulated "github.com/sluice-gitops/sluice/internal/emulator/arm"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/provision"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// developer is a credential for the SDK's own clients, with which tests prepare what provision then finds.
func (a *azure) developer() (azcore.TokenCredential, *azarm.ClientOptions) {
	a.t.Helper()
	env := a.Env()
	cred, err := identity.ForServicePrincipal(env.TenantID, env.DeveloperClientID, env.DeveloperSecret, a.HTTP)
	if err != nil {
		a.t.Fatal(err)
	}
	return cred, &azarm.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: a.HTTP}}
}

func (a *azure) destroy(group string) {
	a.t.Helper()
	c := a.client(a.HTTP)
	inv, err := provision.Take(a.t.Context(), c, group)
	if err == nil {
		err = provision.Destroy(a.t.Context(), c, inv, group, false, event.Discard)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *azure) deleteKey(vault, key string) {
	a.t.Helper()
	cred, o := a.developer()
	keys, err := azkeys.NewClient("https://"+vault+".vault.azure.net", cred, &azkeys.ClientOptions{ClientOptions: o.ClientOptions})
	if err == nil {
		_, err = keys.DeleteKey(a.t.Context(), key, nil)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

// refuse makes one operation fail, times times (0: always).
func (a *azure) refuse(operation string, times int, f *wire.Failure) {
	n := 0
	a.SetTrouble(&emulated.Trouble{Refuse: func(op string, _ *http.Request) *wire.Failure {
		if op != operation || times > 0 && n >= times {
			return nil
		}
		n++
		return f
	}})
}

func (a *azure) unregister(namespace string) {
	a.t.Helper()
	cred, o := a.developer()
	c, err := armresources.NewProvidersClient(a.Env().SubscriptionID, cred, o)
	if err == nil {
		_, err = c.Unregister(a.t.Context(), namespace, nil)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

// What stands in the way of provisioning, and what its user is told. The messages are the golden file.
var hindrances = map[string]struct {
	spec provision.Spec
	make func(a *azure)
}{
	"a deleted vault of another group": {everything, func(a *azure) {
		a.must(provision.Spec{Group: "elsewhere", Vault: everything.Vault, NoPurgeProtect: true})
		a.destroy("elsewhere")
	}},
	"a deleted vault of another group that is protected": {everything, func(a *azure) {
		a.must(provision.Spec{Group: "elsewhere", Vault: everything.Vault})
		a.destroy("elsewhere")
	}},
	"a deleted vault in another region": {provision.Spec{Group: "g", Vault: everything.Vault, Location: "northeurope"}, func(a *azure) {
		a.must(everything)
		a.destroy("g")
	}},
	"a vault name that is taken": {everything, func(a *azure) { a.must(provision.Spec{Group: "elsewhere", Vault: everything.Vault}) }},
	"a vault by roles":           {everything, func(a *azure) { a.must(provision.Spec{Group: "g", Vault: everything.Vault, RBAC: true}) }},
	"a vault by policies":        {provision.Spec{Group: "g", Vault: everything.Vault, RBAC: true}, func(a *azure) { a.must(everything) }},
	"a deleted key": {everything, func(a *azure) {
		s := everything
		s.PersonPermissions = []string{"get", "list", "encrypt", "decrypt", "delete"}
		a.must(s)
		a.deleteKey(s.Vault, provision.DefaultKey)
	}},
	"no quota": {everything, func(a *azure) {
		a.refuse("put-cluster", 0, &wire.Failure{Status: 400, Code: "ErrCode_InsufficientVCPUQuota", Message: "Insufficient regional vcpu quota left for location westeurope. left regional vcpu quota 2, requested quota 4."})
	}},
	"no quota, found out late": {everything, func(a *azure) {
		a.SetTrouble(&emulated.Trouble{Late: func(string) *wire.Failure {
			return &wire.Failure{Code: "QuotaExceeded", Message: "Operation could not be completed as it results in exceeding approved Total Regional Cores quota."}
		}})
	}},
	"a provider that may not be registered": {everything, func(a *azure) {
		a.unregister("Microsoft.ContainerService")
		a.refuse("register-provider", 0, &wire.Failure{Status: 403, Code: "AuthorizationFailed", Message: "The client does not have authorization to perform action 'Microsoft.ContainerService/register/action'."})
	}},
	"a provider unregistered in between": {everything, func(a *azure) {
		a.refuse("put-vault", 0, &wire.Failure{Status: 409, Code: "MissingSubscriptionRegistration", Message: "The subscription is not registered to use namespace 'Microsoft.KeyVault'."})
	}},
	"throttling": {everything, func(a *azure) {
		a.refuse("put-identity", 0, &wire.Failure{Status: 429, Code: "SubscriptionRequestsThrottled", Message: "Number of requests exceeded the limit.", Header: http.Header{"Retry-After": {"137"}}})
	}},
	"no role": {everything, func(a *azure) {
		a.refuse("put-group", 0, &wire.Failure{Status: 403, Code: "AuthorizationFailed", Message: "The client does not have authorization to perform action 'Microsoft.Resources/subscriptions/resourcegroups/write'."})
	}},
	"an organization's policy": {everything, func(a *azure) {
		a.refuse("put-vault", 0, &wire.Failure{Status: 403, Code: "RequestDisallowedByPolicy", Message: "Resource 'vault-of-tests' was disallowed by policy."})
	}},
	"no right to give roles": {provision.Spec{Group: "g", Vault: everything.Vault, RBAC: true}, func(a *azure) {
		a.refuse("put-role-assignment", 0, &wire.Failure{Status: 403, Code: "AuthorizationFailed", Message: "The client does not have authorization to perform action 'Microsoft.Authorization/roleAssignments/write'."})
	}},
	"twenty credentials": {everything, func(a *azure) {
		c := a.client(a.HTTP)
		must := func(_ bool, err error) {
			if err != nil {
				a.t.Fatal(err)
			}
		}
		must(c.EnsureGroup(a.t.Context(), "g", "westeurope"))
		_, _, err := c.EnsureIdentity(a.t.Context(), "g", provision.DefaultIdentity, "westeurope")
		must(false, err)
		for n := range 20 {
			must(c.EnsureFederatedCredential(a.t.Context(), "g", provision.DefaultIdentity, arm.Federation{Name: fmt.Sprintf("fic-%d", n), Issuer: "https://x/", Subject: fmt.Sprint(n), Audience: "a"}))
		}
	}},
	"names that Azure takes nowhere": {provision.Spec{Group: "g.", Vault: "a--b", Identity: "-", Cluster: "c_"}, func(*azure) {}},
}

func TestEveryHindranceIsExplained(t *testing.T) {
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(hindrances)) {
		h := hindrances[name]
		t.Run(name, func(t *testing.T) {
			a := start(t, quick)
			h.make(a)
			_, _, err := a.run(h.spec)
			f := fault.From(err)
			if f == nil || f.Fix == "" || f.Code == "" || f.Code == "SLU-ARM-001" || f.Hop != fault.HopARM && f.Hop != fault.HopUsage {
				t.Fatalf("%v", err)
			}
			text := strings.NewReplacer(a.Env().SubscriptionID, "SUBSCRIPTION", a.Env().DeveloperObjectID, "PERSON").Replace(f.Multiline())
			fmt.Fprintf(&all, "# %s\n%s\n\n", name, text)
		})
	}
	testkit.Golden(t, "testdata/hindrances.golden", []byte(all.String()))
}

func TestWhatPassesByItselfIsWaitedFor(t *testing.T) {
	for name, make := range map[string]func(a *azure){
		"another writer of federated credentials": func(a *azure) {
			a.refuse("put-federation", 3, &wire.Failure{Status: 409, Code: "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity", Message: "Too many."})
		},
		"an identity that the directory does not know yet": func(a *azure) {
			a.refuse("put-role-assignment", 2, &wire.Failure{Status: 400, Code: "PrincipalNotFound", Message: "Principal does not exist in the directory."})
		},
		"providers that were never used": func(a *azure) {
			for _, n := range []string{"Microsoft.ContainerService", "Microsoft.KeyVault", "Microsoft.ManagedIdentity"} {
				a.unregister(n)
			}
		},
		"a deleted vault of ours": func(a *azure) {
			a.must(provision.Spec{Group: "g", Vault: everything.Vault, RBAC: true})
			a.destroy("g")
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, quick)
			make(a)
			s := everything
			s.RBAC = true
			r := a.must(s)
			if second, w, err := a.run(s); err != nil || second.Changed != 0 || len(w.writes) > 0 || second.KeyURL != r.KeyURL {
				t.Errorf("again: %+v, %v", second, err)
			}
		})
	}
}

func TestADeletedKeyIsRecoveredByWhoMay(t *testing.T) {
	a := start(t, quick)
	s := everything
	s.PersonPermissions = []string{"get", "encrypt", "decrypt", "delete", "recover"}
	first := a.must(s)
	a.deleteKey(s.Vault, provision.DefaultKey)
	second, w, err := a.run(s)
	if err != nil || second.KeyURL != first.KeyURL || second.Changed != 1 {
		t.Errorf("%+v, %v; wrote %q", second, err, w.writes)
	}
}

func TestAnExistingClusterIsAskedAboutAndKeepsTheRest(t *testing.T) {
	a := start(t, quick)
	cred, o := a.developer()
	clusters, err := aks.NewManagedClustersClient(a.Env().SubscriptionID, cred, o)
	if err != nil {
		t.Fatal(err)
	}
	c := a.client(a.HTTP)
	if _, err := c.EnsureGroup(t.Context(), "g", "westeurope"); err != nil {
		t.Fatal(err)
	}
	poller, err := clusters.BeginCreateOrUpdate(t.Context(), "g", "theirs", aks.ManagedCluster{Location: to.Ptr("westeurope"), Tags: map[string]*string{"team": to.Ptr("a")},
		Properties: &aks.ManagedClusterProperties{DNSPrefix: to.Ptr("dns"), EnableRBAC: to.Ptr(true)}}, nil)
	if err == nil {
		_, err = poller.PollUntilDone(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := everything
	s.Cluster = "theirs"
	st, err := provision.Observe(t.Context(), c, s)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := provision.Decide(s, st)
	if err != nil {
		t.Fatal(err)
	}
	asks := plan.Asks()
	if len(asks) != 1 || asks[0].ID != "cluster" || len(asks[0].Changes) != 2 {
		t.Fatalf("%+v", asks)
	}
	if _, err := provision.Apply(t.Context(), c, s, st, plan, event.Discard); err != nil {
		t.Fatal(err)
	}
	got, err := clusters.Get(t.Context(), "g", "theirs", nil)
	if err != nil {
		t.Fatal(err)
	}
	if *got.Properties.DNSPrefix != "dns" || *got.Tags["team"] != "a" || !*got.Properties.OidcIssuerProfile.Enabled || !*got.Properties.SecurityProfile.WorkloadIdentity.Enabled {
		t.Errorf("%+v", got.Properties)
	}
}

func TestAProtectedVaultIsNotPurged(t *testing.T) {
	a := start(t, quick)
	a.must(everything)
	c := a.client(a.HTTP)
	inv, err := provision.Take(t.Context(), c, "g")
	if err != nil {
		t.Fatal(err)
	}
	err = provision.Destroy(t.Context(), c, inv, "g", true, event.Discard)
	if f := fault.From(err); f == nil || f.Code != "SLU-ARM-027" {
		t.Fatalf("%v", err)
	}
	if left, err := provision.Take(t.Context(), c, "g"); err != nil || left.Group == nil {
		t.Errorf("something was deleted: %+v, %v", left, err)
	}
}
