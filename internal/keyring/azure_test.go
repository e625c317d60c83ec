package keyring

import (
	"context"
	"crypto/rsa"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/getsops/sops/v3/azkv"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/emulator"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/testkit/azureserver"
)

type staticToken struct{}

func (staticToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "t", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// azure is an emulated Azure with one vault, one key and one workload that may decrypt with it.
type azure struct {
	*azureserver.Server
	dev      azcore.TokenCredential
	arm      *arm.Client
	who      arm.Identity
	key      keyvault.KeyID
	public   *rsa.PublicKey
	workload *identity.Workload
}

const (
	group, location, vaultName = "sluice", "westeurope", "sluice-vault"
	subject                    = "system:serviceaccount:flux-system:kustomize-controller"
	audience                   = "api://AzureADTokenExchange"
)

func newAzure(t *testing.T) *azure {
	t.Helper()
	a := &azure{Server: azureserver.New(t, emulator.Options{})}
	env := a.Env()
	var err error
	a.dev, err = identity.ForServicePrincipal(env.TenantID, env.DeveloperClientID, env.DeveloperSecret, a.HTTP)
	must(t, err)
	a.arm, err = arm.New(env.SubscriptionID, a.dev, azcore.ClientOptions{Transport: a.HTTP})
	must(t, err)
	_, err = a.arm.EnsureGroup(t.Context(), group, location)
	must(t, err)
	a.who, _, err = a.arm.EnsureIdentity(t.Context(), group, "flux", location)
	must(t, err)
	a.trust(t, subject)
	_, _, err = a.arm.EnsureVault(t.Context(), group, arm.VaultSpec{Name: vaultName, Location: location, TenantID: env.TenantID})
	must(t, err)
	a.permit(t, a.who.PrincipalID, armkeyvault.AccessPolicyUpdateKindAdd, "get", "decrypt")
	a.permit(t, env.DeveloperObjectID, armkeyvault.AccessPolicyUpdateKindAdd, "get", "list", "create", "update", "encrypt", "decrypt")
	a.key, _, err = a.arm.EnsureKey(t.Context(), group, vaultName, "sops", 2048)
	must(t, err)
	a.key, a.public, err = keyvault.New(a.dev, keyvault.Options{Client: azcore.ClientOptions{Transport: a.HTTP}}).PublicKey(t.Context(), a.key)
	must(t, err)
	a.workload = a.newWorkload(t)
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// trust makes the identity accept tokens of one subject.
func (a *azure) trust(t *testing.T, subject string) {
	t.Helper()
	_, err := a.arm.EnsureFederatedCredential(t.Context(), group, "flux", arm.Federation{Name: "flux", Issuer: a.Env().IssuerURL, Subject: subject, Audience: audience})
	must(t, err)
}

// permit changes an access policy, as az would.
func (a *azure) permit(t *testing.T, object string, kind armkeyvault.AccessPolicyUpdateKind, verbs ...string) {
	t.Helper()
	vaults, err := armkeyvault.NewVaultsClient(a.Env().SubscriptionID, a.dev, &azarm.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: a.HTTP}})
	must(t, err)
	tenant := a.Env().TenantID
	var perms []*armkeyvault.KeyPermissions
	for _, v := range verbs {
		p := armkeyvault.KeyPermissions(v)
		perms = append(perms, &p)
	}
	_, err = vaults.UpdateAccessPolicy(t.Context(), group, vaultName, kind, armkeyvault.VaultAccessPolicyParameters{
		Properties: &armkeyvault.VaultAccessPolicyProperties{AccessPolicies: []*armkeyvault.AccessPolicyEntry{{
			TenantID: &tenant, ObjectID: &object, Permissions: &armkeyvault.Permissions{Keys: perms}}}},
	}, nil)
	must(t, err)
}

// enable switches the key version on or off.
func (a *azure) enable(t *testing.T, on bool) {
	t.Helper()
	keys, err := azkeys.NewClient(a.key.Vault, a.dev, &azkeys.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: a.HTTP}})
	must(t, err)
	_, err = keys.UpdateKey(t.Context(), a.key.Name, a.key.Version, azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: &on}}, nil)
	must(t, err)
}

// newWorkload signs in with a projected token that the emulated issuer's keys verify.
func (a *azure) newWorkload(t *testing.T) *identity.Workload {
	t.Helper()
	issuer := a.Issuer(t)
	token, err := issuer.Sign(map[string]any{"iss": issuer.URL, "sub": subject, "aud": []string{audience},
		"iat": time.Now().Unix(), "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})
	must(t, err)
	file := filepath.Join(t.TempDir(), "azure-identity-token")
	must(t, os.WriteFile(file, []byte(token), 0o600))
	w, err := identity.New(identity.Config{ClientID: a.who.ClientID, TenantID: a.Env().TenantID,
		Assertion: identity.FromFile(file), TokenFile: file, Client: azcore.ClientOptions{Transport: a.HTTP}})
	must(t, err)
	return w
}

// seal makes a document without asking the vault for anything.
func (a *azure) seal(t *testing.T) []byte {
	return seal(t, Wrapper{Azure: map[keyvault.KeyID]*rsa.PublicKey{a.key: a.public}}, recipient.Group{AzureRecipient(a.key, time.Now())})
}

// spent returns the requests that f costs, by kind.
func (a *azure) spent(f func()) map[string]int {
	before := a.Requests()
	f()
	after := maps.Clone(a.Requests())
	for k, n := range before {
		if after[k] -= n; after[k] == 0 {
			delete(after, k)
		}
	}
	return after
}

func TestFiftyDocumentsCostOneExchangeOneChallengeAndFiftyDecrypts(t *testing.T) {
	a := newAzure(t)
	var docs [][]byte
	cost := a.spent(func() {
		for range 50 {
			docs = append(docs, a.seal(t))
		}
	})
	if len(cost) != 0 {
		t.Errorf("sealing cost %v, want nothing", cost)
	}
	ring := New(Options{Transport: a.HTTP}).For(Identity{Name: "flux-system/kustomize-controller", Azure: a.workload})
	openAll := func() {
		var wg sync.WaitGroup
		for _, doc := range docs {
			wg.Go(func() {
				if err := open(t, ring, doc); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	first := a.spent(openAll)
	if first["entra/token"] != 1 || first["keyvault/challenge"] != 1 || first["keyvault/decrypt"] != 50 {
		t.Errorf("first time: %v", first)
	}
	if second := a.spent(openAll); len(second) != 0 {
		t.Errorf("second time: %v, want nothing", second)
	}
	same := a.seal(t)
	docs = [][]byte{same, same, same, same, same, same, same, same}
	if together := a.spent(openAll); together["keyvault/decrypt"] != 1 || len(together) != 1 {
		t.Errorf("one document, eight readers: %v", together)
	}
}

func TestFiveHundredKeyVaultDocumentsCostOneChallengeAndUnderASharedKeyOneRequest(t *testing.T) {
	a := newAzure(t)
	wrap := func() *sops.Metadata {
		k := AzureRecipient(a.key, time.Now())
		enc, _, err := Wrapper{Azure: map[keyvault.KeyID]*rsa.PublicKey{a.key: a.public}}.Wrap(t.Context(), k, []byte("0123456789abcdef0123456789abcdef"))
		must(t, err)
		k.SetWrapped(enc)
		return &sops.Metadata{KeyGroups: []recipient.Group{{k}}}
	}
	var own, shared []*sops.Metadata
	one := wrap()
	for range 500 {
		own, shared = append(own, wrap()), append(shared, one)
	}
	ring := New(Options{Transport: a.HTTP}).For(Identity{Name: "x", Azure: a.workload})
	for _, tt := range []struct {
		what string
		docs []*sops.Metadata
		want map[string]int
	}{
		{"own keys", own, map[string]int{"entra/token": 1, "keyvault/challenge": 1, "keyvault/decrypt": 500}},
		{"own keys again", own, map[string]int{}},
		{"a shared key", shared, map[string]int{"keyvault/decrypt": 1}},
		{"a shared key again", shared, map[string]int{}},
	} {
		got := a.spent(func() {
			var wg sync.WaitGroup
			for _, doc := range tt.docs {
				wg.Go(func() {
					if _, err := ring.DataKey(t.Context(), doc); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
		for kind := range got {
			if _, listed := tt.want[kind]; !listed && (strings.HasPrefix(kind, "keyvault/") || tt.want["entra/token"] == 0 && !strings.HasPrefix(kind, "proxy/")) {
				t.Errorf("%s: %v", tt.what, got)
			}
		}
		for kind, n := range tt.want {
			if got[kind] != n {
				t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
			}
		}
	}
}

func TestUpstreamAndWeOpenEachOthersKeyVaultDocuments(t *testing.T) {
	a := newAzure(t)
	ring := New(Options{Transport: a.HTTP}).For(Identity{Name: "x", Azure: a.workload})
	prepare := func(k *recipient.AzureKV, cred azcore.TokenCredential) *azkv.MasterKey {
		client := toUpstream(t, k).(*azkv.MasterKey)
		azkv.NewTokenCredential(cred).ApplyToMasterKey(client)
		azkv.NewClientOptions(&azkeys.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: a.HTTP}}).ApplyToMasterKey(client)
		return client
	}
	ours, _, err := Wrapper{Azure: map[keyvault.KeyID]*rsa.PublicKey{a.key: a.public}}.Wrap(t.Context(), AzureRecipient(a.key, time.Now()), []byte("data key"))
	must(t, err)
	k := prepare(recipient.NewAzureKV(a.key.Vault, a.key.Name, a.key.Version), a.workload)
	k.SetEncryptedDataKey(ours)
	if got, err := k.Decrypt(); err != nil || string(got) != "data key" {
		t.Errorf("upstream opens ours: %q, %v", got, err)
	}
	theirs := recipient.NewAzureKV(a.key.Vault+"/", a.key.Name, a.key.Version)
	up := prepare(theirs, a.dev)
	must(t, up.Encrypt([]byte("data key")))
	theirs.SetWrapped(up.EncryptedDataKey())
	got, err := ring.DataKey(t.Context(), &sops.Metadata{KeyGroups: []recipient.Group{{theirs}}})
	if err != nil || string(got) != "data key" {
		t.Errorf("we open upstream's: %q, %v", got, err)
	}
}

// Each step breaks one hop, shows the fault and heals it; the documents are new each time, so that nothing is in memory.
func TestEveryBrokenHopIsNamedAndHealsWithoutARestart(t *testing.T) {
	a := newAzure(t)
	r := New(Options{Transport: a.HTTP})
	id := Identity{Name: "flux-system/kustomize-controller", Azure: a.workload}
	old := a.seal(t)
	try := func() error { return open(t, r.For(id), a.seal(t)) }
	must(t, open(t, r.For(id), old))
	must(t, try())

	for _, tt := range []struct {
		name, code  string
		hop         fault.Hop
		brk, mend   func()
		fix         string
		keepsMemory bool
	}{
		{"decrypt taken away", "SLU-VAULT-002", fault.HopVault,
			func() { a.permit(t, a.who.PrincipalID, armkeyvault.AccessPolicyUpdateKindRemove, "decrypt") },
			func() { a.permit(t, a.who.PrincipalID, armkeyvault.AccessPolicyUpdateKindAdd, "decrypt") },
			"az keyvault set-policy -n sluice-vault --object-id " + a.who.PrincipalID + " --key-permissions get decrypt", false},
		{"key version disabled", "SLU-KEY-002", fault.HopKey,
			func() { a.enable(t, false) }, func() { a.enable(t, true) },
			"az keyvault key set-attributes --vault-name sluice-vault -n sops --version " + a.key.Version + " --enabled true", true},
		{"another subject trusted", "SLU-ENTRA-004", fault.HopEntra,
			func() { a.trust(t, "system:serviceaccount:default:other"); r.Forget(id.Name); a.workload.Renew() },
			func() { a.trust(t, subject); a.workload.Renew() },
			"--subject " + subject, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			must(t, open(t, r.For(id), old))
			tt.brk()
			f := wantFault(t, try(), tt.code)
			if f.Hop != tt.hop || !strings.Contains(f.Fix, tt.fix) {
				t.Errorf("hop %s, fix %s", f.Hop, f.Fix)
			}
			if err := open(t, r.For(id), old); (err == nil) != tt.keepsMemory {
				t.Errorf("a document opened before: %v", err)
			}
			tt.mend()
			must(t, try())
		})
	}
}
