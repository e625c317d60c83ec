package emulator_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sluice-gitops/sluice/internal/emulator"
	"github.com/sluice-gitops/sluice/internal/testkit/azureserver"
)

const (
	audience = "api://AzureADTokenExchange"
	subject  = "system:serviceaccount:flux-system:kustomize-controller"
)

// clusterKey signs the service-account tokens of every test's cluster.
var clusterKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// azure is a serving emulator with clients that reach it as Azure's own do: by proxy and CA alone.
type azure struct {
	*azureserver.Server
	t      *testing.T
	token  string // developer's, for management.azure.com; fetched at the first use
	tokens sync.Mutex
}

func start(t *testing.T, o emulator.Options) *azure {
	t.Helper()
	a := &azure{Server: azureserver.New(t, o), t: t}
	a.SetIssuerBackend(cluster(a.Env().IssuerURL).Documents)
	return a
}

// cluster stands for an API server whose tokens are issued in the name of issuer.
func cluster(issuer string) *azureserver.Issuer {
	return &azureserver.Issuer{URL: issuer, Key: clusterKey()}
}

// assertion is a service-account token, less or more what change does to it.
func (a *azure) assertion(change func(*jwt.Token)) string {
	a.t.Helper()
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": a.Env().IssuerURL, "sub": subject, "aud": []string{audience},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	token.Header["kid"] = "k1"
	if change != nil {
		change(token)
	}
	var key any = clusterKey()
	if token.Method.Alg() != "RS256" {
		key = []byte("a shared key")
	}
	signed, err := token.SignedString(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return signed
}

// sdk gives the options that make an SDK client use the proxy, and give up at once.
func (a *azure) sdk() azcore.ClientOptions {
	return azcore.ClientOptions{Transport: a.HTTP, Retry: policy.RetryOptions{MaxRetries: -1}}
}

func (a *azure) developer() azcore.TokenCredential {
	a.t.Helper()
	env := a.Env()
	c, err := azidentity.NewClientSecretCredential(env.TenantID, env.DeveloperClientID, env.DeveloperSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: a.sdk()})
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// workload is the credential of a pod that has the service account's token, ending in a newline, in a file.
func (a *azure) workload(clientID string) azcore.TokenCredential {
	a.t.Helper()
	file := filepath.Join(a.t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(a.assertion(nil)+"\n"), 0o600); err != nil {
		a.t.Fatal(err)
	}
	c, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: a.sdk(), ClientID: clientID, TenantID: a.Env().TenantID, TokenFilePath: file,
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *azure) keys(vault string, c azcore.TokenCredential) *azkeys.Client {
	a.t.Helper()
	client, err := azkeys.NewClient("https://"+vault+".vault.azure.net", c, &azkeys.ClientOptions{ClientOptions: a.sdk()})
	if err != nil {
		a.t.Fatal(err)
	}
	return client
}

// reply is an answer with its body read.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := json.Unmarshal(r.body, &out); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return out
}

// dig walks nested objects.
func dig(v any, path ...string) any {
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func (a *azure) do(method, url, token string, body any) reply {
	a.t.Helper()
	var payload io.Reader
	header := http.Header{}
	switch b := body.(type) {
	case nil:
	case string:
		payload = strings.NewReader(b)
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	default:
		data, err := json.Marshal(b)
		if err != nil {
			a.t.Fatal(err)
		}
		payload = bytes.NewReader(data)
		header.Set("Content-Type", "application/json")
	}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	r, err := http.NewRequest(method, url, payload)
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header = header
	answer, err := a.HTTP.Do(r)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, url, err)
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header, data}
}

type form map[string]string

func (f form) encode() string {
	values := url.Values{}
	for k, v := range f {
		values.Set(k, v)
	}
	return values.Encode()
}

func (f form) with(key, value string) form {
	out := form{}
	for k, v := range f {
		out[k] = v
	}
	out[key] = value
	if value == "" {
		delete(out, key)
	}
	return out
}

func (a *azure) tokenURL() string {
	return "https://login.microsoftonline.com/" + a.Env().TenantID + "/oauth2/v2.0/token"
}

func (a *azure) developerForm(resource string) form {
	return form{
		"grant_type": "client_credentials", "scope": resource + "/.default",
		"client_id": a.Env().DeveloperClientID, "client_secret": a.Env().DeveloperSecret,
	}
}

func (a *azure) developerToken(resource string) string {
	a.t.Helper()
	r := a.do("POST", a.tokenURL(), "", a.developerForm(resource).encode())
	if r.status != 200 {
		a.t.Fatalf("token: %d %s", r.status, r.body)
	}
	return r.json(a.t)["access_token"].(string)
}

// arm calls Resource Manager as the developer; path is relative to the subscription.
func (a *azure) arm(method, path string, body any) reply {
	a.t.Helper()
	a.tokens.Lock()
	if a.token == "" {
		a.token = a.developerToken("https://management.azure.com")
	}
	token := a.token
	a.tokens.Unlock()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return a.do(method, "https://management.azure.com/subscriptions/"+a.Env().SubscriptionID+path+sep+"api-version=2024-11-01", token, body)
}

func (a *azure) mustARM(method, path string, body any) map[string]any {
	a.t.Helper()
	r := a.arm(method, path, body)
	if r.status >= 300 {
		a.t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	a.follow(r)
	if len(r.body) == 0 {
		return nil
	}
	return r.json(a.t)
}

// follow waits for the operation that an answer names, as clients do, and returns how it ended.
func (a *azure) follow(r reply) (status string) {
	a.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for async, at := r.header.Get("Azure-AsyncOperation"), r.header.Get("Location"); async != "" || at != ""; {
		if time.Now().After(deadline) {
			a.t.Fatalf("%s%s does not end", async, at)
		}
		if r.header.Get("Retry-After") == "" || r.header.Get("X-Ms-Retry-After-Ms") == "" {
			a.t.Fatalf("no pace in %v", r.header)
		}
		ms, err := strconv.Atoi(r.header.Get("X-Ms-Retry-After-Ms"))
		if err != nil {
			a.t.Fatal(err)
		}
		time.Sleep(time.Duration(ms) * time.Millisecond) // what the server asks for
		if async == "" {
			if r = a.do("GET", at, a.token, nil); r.status != http.StatusAccepted {
				return strconv.Itoa(r.status)
			}
			continue
		}
		r = a.do("GET", async, a.token, nil)
		if status, _ := r.json(a.t)["status"].(string); status != "InProgress" {
			return status
		}
	}
	return ""
}

type object = map[string]any

const (
	group        = "/resourcegroups/rg"
	identityPath = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/flux"
	vaultPath    = group + "/providers/Microsoft.KeyVault/vaults/sample"
)

func (a *azure) policy(objectID string, verbs ...string) object {
	return object{"tenantId": a.Env().TenantID, "objectId": objectID, "permissions": object{"keys": verbs}}
}

// onboarded makes what the sample needs: a group, an identity with a federated credential, and a vault "sample" with
// the RSA key "sops", which the identity may get and use, and where the developer may do everything.
func onboarded(t *testing.T, o emulator.Options) (a *azure, clientID string) {
	t.Helper()
	a = start(t, o)
	a.mustARM("PUT", group, object{"location": "westeurope"})
	identity := a.mustARM("PUT", identityPath, object{"location": "westeurope"})
	clientID = dig(identity, "properties", "clientId").(string)
	a.mustARM("PUT", identityPath+"/federatedIdentityCredentials/flux", object{"properties": object{
		"issuer": a.Env().IssuerURL, "subject": subject, "audiences": []string{audience},
	}})
	a.mustARM("PUT", vaultPath, object{"location": "westeurope", "properties": object{
		"tenantId": a.Env().TenantID, "sku": object{"family": "A", "name": "standard"}, "enableRbacAuthorization": false,
		"accessPolicies": []any{
			a.policy(a.Env().DeveloperObjectID, "all"),
			a.policy(dig(identity, "properties", "principalId").(string), "get", "decrypt", "unwrapKey"),
		},
	}})
	a.mustARM("PUT", vaultPath+"/keys/sops", object{"properties": object{"kty": "RSA", "keySize": 2048}})
	return a, clientID
}
