package doctor

import (
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/crds"
	"github.com/sluice-gitops/sluice/internal/emulator"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/testkit"
	"github.com/sluice-gitops/sluice/internal/testkit/azureserver"
	"github.com/sluice-gitops/sluice/internal/testkit/gitops"
)

func TestMain(m *testing.M) { testkit.Main(m) }

type object = map[string]any

const (
	canary = "correct-horse-battery-staple"
	secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n  password: " + canary + "\n"
	listed = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- secret.yaml\n"
)

// world is a whole chain: a namespace of a real API server, a Git host, and an emulated Azure, all in this process. What
// kubelet, webhook and Deployment controller would do is done by settle.
type world struct {
	t      *testing.T
	client client.Client
	ns     string
	azure  *azureserver.Server
	issuer *azureserver.Issuer
	repo   *gitops.Repository
	http   *http.Client
	dev    azcore.TokenCredential
	id     Identity
	url    string
	key    keyvault.KeyID
	sealed string // secret.yaml as it stands in Git

	// What a test breaks.
	cloud     cloud.Cloud                                             // that the chain is in
	authority string                                                  // that the webhook gives to pods; empty: the cloud's
	audience  string                                                  // that it projects tokens for; empty: AKS's
	rbac      bool                                                    // the vault's mode
	webhook   bool                                                    // it acts on new pods
	sign      func(header, claims object, key *rsa.PrivateKey) string // nil: as it should be
	answer    func(*http.Request) *http.Response                      // nil or nil from it: the emulator answers
	clock     time.Duration
}

func newWorld(t *testing.T) *world {
	t.Helper()
	env := testkit.Cluster(t)
	testkit.InstallCRDs(t, env, crds.YAML())
	w := &world{t: t, ns: testkit.Namespace(t, env), webhook: true, cloud: cloud.Public}
	w.client = w.as(env.Config, "")
	w.startAzure()
	w.startGit()
	w.onboard()
	w.heal()
	return w
}

// as returns a client of a user, who is impersonated; of the administrator if that is "".
func (w *world) as(cfg *rest.Config, user string) client.Client {
	w.t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.ContentType = "application/json" // the token answers are read on the way
	cfg.Impersonate.UserName = user
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return issuing{w, next} })
	c, err := client.New(cfg, client.Options{Scheme: Scheme()})
	w.must(err)
	return c
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) startAzure() {
	w.azure = azureserver.New(w.t, emulator.Options{Clock: func() time.Time { return time.Now().Add(w.clock) }})
	w.issuer = w.azure.Issuer(w.t)
	w.http = &http.Client{Transport: intercepting{w, w.azure.HTTP.Transport}}
	v := w.azure.Env()
	var err error
	w.dev, err = identity.ForServicePrincipal(v.TenantID, v.DeveloperClientID, v.DeveloperSecret, w.http)
	w.must(err)
}

// intercepting lets a test answer in Azure's place.
type intercepting struct {
	w    *world
	next http.RoundTripper
}

func (i intercepting) RoundTrip(r *http.Request) (*http.Response, error) {
	if c, ok := sovereign(r.URL.Hostname()); ok {
		return i.w.translated(c, r, i.RoundTrip)
	}
	if i.w.answer != nil {
		if res := i.w.answer(r); res != nil {
			return res, nil
		}
	}
	return i.next.RoundTrip(r)
}

func (w *world) startGit() {
	w.repo = gitops.NewRepository(w.t, nil)
	w.url = w.repo.URL
}

// push makes the repository hold these files under apps/, and nothing else.
func (w *world) push(files map[string]string) {
	w.t.Helper()
	dir := filepath.Join(w.repo.Work, "apps")
	w.must(os.RemoveAll(dir))
	w.must(os.MkdirAll(dir, 0o755))
	for name, content := range files {
		w.must(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	w.repo.Commit(nil)
	w.repo.Push()
}

func (w *world) group() string {
	return w.management() + "/subscriptions/" + w.azure.Env().SubscriptionID + "/resourceGroups/rg"
}

const (
	identityPath = "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/flux"
	vaultPath    = "/providers/Microsoft.KeyVault/vaults/sample"
	clusterPath  = "/providers/Microsoft.ContainerService/managedClusters/aks"
)

// rest calls Azure as the developer, waits for what takes time, and returns the answer.
func (w *world) rest(method, address string, body any) object {
	w.t.Helper()
	out := object{}
	o := w.options().AzureOptions
	address += "?api-version=2024-11-01"
	w.must(call(w.t.Context(), w.dev, o, Request{method, address, body}, &out))
	if method == "PUT" && strings.HasPrefix(address, w.management()) && !strings.Contains(address, "/accessPolicies/") {
		w.must(call(w.t.Context(), w.dev, o, Request{"GET", address, nil}, &out))
	}
	return out
}

// onboard makes what stays: group, identity, cluster, vault, key and the sealed file.
func (w *world) onboard() {
	w.rest("PUT", w.group(), object{"location": "westeurope"})
	id := w.rest("PUT", w.group()+identityPath, object{"location": "westeurope"})
	w.id = Identity{
		ID: field[string](id, "id"), Name: "flux", Group: "rg", ClientID: field[string](id, "properties", "clientId"),
		PrincipalID: field[string](id, "properties", "principalId"), TenantID: w.azure.Env().TenantID,
	}
	w.vault()
	made := w.rest("POST", "https://sample.vault.azure.net/keys/sops/create", object{"kty": "RSA", "key_size": 2048, "key_ops": []string{"encrypt", "decrypt"}})
	var err error
	w.key, err = keyvault.ParseKeyID(field[string](made, "key", "kid"))
	w.must(err)
	w.sealed = w.seal(w.key)
}

func (w *world) seal(key keyvault.KeyID) string {
	w.t.Helper()
	id, pub, err := keyvault.New(w.dev, keyvault.Options{Client: w.options().AzureOptions}).PublicKey(w.t.Context(), key)
	w.must(err)
	sealed, err := sops.Seal(w.t.Context(), []byte(secret), sops.YAML, sops.SealOptions{
		EncryptedRegex: "^(data|stringData)$", Recipients: []recipient.Group{{keyring.AzureRecipient(id, time.Now())}},
		Wrap: keyring.Wrapper{Azure: map[keyvault.KeyID]*rsa.PublicKey{id: pub}}.Wrap,
	})
	w.must(err)
	return string(sealed)
}

// vault puts the vault as it should be in w's mode.
func (w *world) vault() {
	w.t.Helper()
	v := w.azure.Env()
	policies := []any{object{"tenantId": v.TenantID, "objectId": v.DeveloperObjectID, "permissions": object{"keys": []string{"all"}}}}
	if !w.rbac {
		policies = append(policies, object{"tenantId": v.TenantID, "objectId": w.id.PrincipalID, "permissions": object{"keys": []string{"get", "decrypt"}}})
	}
	if w.id.PrincipalID == "" {
		policies = policies[:1]
	}
	w.rest("PUT", w.group()+vaultPath, object{"location": "westeurope", "properties": object{
		"tenantId": v.TenantID, "sku": object{"family": "A", "name": "standard"}, "enableRbacAuthorization": w.rbac, "accessPolicies": policies,
	}})
	if w.id.PrincipalID != "" {
		w.unrole(w.id.PrincipalID)
	}
	if w.rbac {
		w.role(v.DeveloperObjectID, "00482a5a-887f-4fb3-b363-3b7fe8e74483")
		w.role(w.id.PrincipalID, cryptoUser)
	}
}

func (w *world) role(principal, role string) {
	w.t.Helper()
	w.rest("PUT", w.group()+vaultPath+"/providers/Microsoft.Authorization/roleAssignments/"+guidOf(role, principal), object{"properties": object{
		"roleDefinitionId": "/subscriptions/x/providers/Microsoft.Authorization/roleDefinitions/" + role, "principalId": principal,
	}})
}

// unrole takes every role on the vault from principal.
func (w *world) unrole(principal string) {
	w.t.Helper()
	all := w.rest("GET", w.group()+vaultPath+"/providers/Microsoft.Authorization/roleAssignments", nil)
	for _, a := range all["value"].([]any) {
		if field[string](a.(object), "properties", "principalId") == principal {
			w.rest("DELETE", w.management()+field[string](a.(object), "id"), nil)
		}
	}
}

func (w *world) options() Options {
	o := Options{
		Client: w.client, Kustomization: namespaced(w.ns, "apps"), Controller: namespaced(w.ns, "kustomize-controller"),
		Azure: w.dev, Subscription: w.azure.Env().SubscriptionID,
		AzureOptions: azcore.ClientOptions{Transport: w.http, Retry: policy.RetryOptions{MaxRetries: -1}},
	}
	if w.cloud.Name != cloud.Public.Name {
		v := w.azure.Env()
		var err error
		o.Azure, err = identity.NewServicePrincipal(v.TenantID, v.DeveloperClientID, v.DeveloperSecret, w.cloud.Authority, o.AzureOptions)
		w.must(err)
	}
	return o
}

var lock sync.Mutex // of the sign hook: the transport's goroutine reads it

// issuing gives the tokens of the real API server the issuer and the key of the emulated cluster: this server's own issuer
// is an address that no Entra ID could fetch. Subject, audience and times stay as the server decided.
type issuing struct {
	w    *world
	next http.RoundTripper
}

func (i issuing) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := i.next.RoundTrip(r)
	if err != nil || r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/token") || res.StatusCode >= 300 {
		return res, err
	}
	var body object
	err = json.NewDecoder(res.Body).Decode(&body)
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	status := body["status"].(object)
	status["token"] = i.w.token(status["token"].(string))
	return answered(res.StatusCode, body), nil
}

func (w *world) repository() *sourcev1.GitRepository {
	return &sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "app"},
		Spec:       sourcev1.GitRepositorySpec{URL: w.url, Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"}},
	}
}

func (w *world) kustomization() *kustomizev1.Kustomization {
	return &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "apps"},
		Spec: kustomizev1.KustomizationSpec{
			Interval: metav1.Duration{Duration: time.Hour}, Path: "./apps", Prune: true,
			SourceRef:  kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "app"},
			Decryption: &kustomizev1.Decryption{Provider: "sops"},
		},
	}
}

func (w *world) account(name string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name, Annotations: map[string]string{
		clientAnnotation: w.id.ClientID, tenantAnnotation: w.id.TenantID,
	}}}
}

// condition writes the GitRepository's Ready condition.
func (w *world) condition(status metav1.ConditionStatus, message string) {
	w.t.Helper()
	r := w.repository()
	w.must(w.client.Get(w.t.Context(), client.ObjectKeyFromObject(r), r))
	r.Status.Conditions = []metav1.Condition{{Type: meta.ReadyCondition, Status: status, Reason: "Test", Message: message, LastTransitionTime: metav1.Now()}}
	w.must(w.client.Status().Update(w.t.Context(), r))
}
