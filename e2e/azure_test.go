package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// azure does to the emulated subscription what an operator would do with az, through the same REST API and with the
// developer's own credentials from `sluice env`:
//
//	azure subject SUBJECT              set the federated credential's subject
//	azure permissions PERMISSION…      set the controller identity's key permissions on the vault
//	azure key-enabled true|false       set the attribute on every version of the key
//	azure vars                         set VAULT, KEY (URL without version), KEYVERSION (URL with) and CLIENTID
func cmdAzure(ts *testscript.TestScript, neg bool, args []string) {
	c := newAzureClient(ts)
	switch args[0] {
	case "subject":
		c.subject(args[1])
	case "permissions":
		c.permissions(args[1:])
	case "key-enabled":
		for _, kid := range c.keyVersions() {
			c.do("PATCH", kid+"?api-version=7.4", map[string]any{"attributes": map[string]any{"enabled": args[1] == "true"}})
		}
	case "vars":
		versions := c.keyVersions()
		kid := versions[len(versions)-1]
		ts.Setenv("VAULT", c.vault()["name"].(string))
		ts.Setenv("KEYVERSION", kid)
		ts.Setenv("KEY", kid[:strings.LastIndex(kid, "/")])
		ts.Setenv("CLIENTID", dig(c.identity(), "properties", "clientId").(string))
	default:
		ts.Fatalf("azure: unknown subcommand %s", args[0])
	}
}

const (
	arm        = "https://management.azure.com"
	identities = "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
	vaults     = "/providers/Microsoft.KeyVault/vaults"
	msiVersion = "?api-version=2024-11-30"
	kvVersion  = "?api-version=2024-11-01"
)

type azureClient struct {
	ts           *testscript.TestScript
	http         *http.Client
	subscription string
}

// newAzureClient trusts and uses only what `sluice env` exported.
func newAzureClient(ts *testscript.TestScript) *azureClient {
	proxy, err := url.Parse(ts.Getenv("HTTPS_PROXY"))
	ts.Check(err)
	bundle, err := os.ReadFile(ts.Getenv("SSL_CERT_FILE"))
	ts.Check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	return &azureClient{
		ts: ts, subscription: arm + "/subscriptions/" + ts.Getenv("AZURE_SUBSCRIPTION_ID"),
		http: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
			Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots},
		}},
	}
}

func (c *azureClient) token(resource string) string {
	resp, err := c.http.PostForm("https://login.microsoftonline.com/"+c.ts.Getenv("AZURE_TENANT_ID")+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "scope": {resource + "/.default"},
		"client_id": {c.ts.Getenv("AZURE_CLIENT_ID")}, "client_secret": {c.ts.Getenv("AZURE_CLIENT_SECRET")},
	})
	c.ts.Check(err)
	defer resp.Body.Close()
	var body struct {
		Token string `json:"access_token"`
		Error string `json:"error_description"`
	}
	c.ts.Check(json.NewDecoder(resp.Body).Decode(&body))
	if body.Token == "" {
		c.ts.Fatalf("no token for %s: %s", resource, body.Error)
	}
	return body.Token
}

func (c *azureClient) do(method, target string, body any) map[string]any {
	resource := "https://vault.azure.net"
	if strings.HasPrefix(target, arm) {
		resource = arm
	}
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		c.ts.Check(err)
		payload = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, target, payload)
	c.ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+c.token(resource))
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	c.ts.Check(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	c.ts.Check(err)
	if resp.StatusCode >= 300 {
		c.ts.Fatalf("%s %s: %s\n%s", method, target, resp.Status, data)
	}
	var out map[string]any
	if len(data) > 0 {
		c.ts.Check(json.Unmarshal(data, &out))
	}
	return out
}

// only is the single element of an ARM or Key Vault list.
func (c *azureClient) only(target string) map[string]any {
	list, _ := c.do("GET", target, nil)["value"].([]any)
	if len(list) != 1 {
		c.ts.Fatalf("%s lists %d elements, want 1", target, len(list))
	}
	return list[0].(map[string]any)
}

func (c *azureClient) identity() map[string]any {
	return c.only(c.subscription + identities + msiVersion)
}

func (c *azureClient) vault() map[string]any { return c.only(c.subscription + vaults + kvVersion) }

func (c *azureClient) subject(subject string) {
	fic := c.only(arm + c.identity()["id"].(string) + "/federatedIdentityCredentials" + msiVersion)
	props := fic["properties"].(map[string]any)
	props["subject"] = subject
	c.do("PUT", arm+fic["id"].(string)+msiVersion, map[string]any{"properties": props})
}

func (c *azureClient) permissions(permissions []string) {
	principal := dig(c.identity(), "properties", "principalId").(string)
	tenant := dig(c.identity(), "properties", "tenantId").(string)
	id := c.vault()["id"].(string)
	vault := c.do("GET", arm+id+kvVersion, nil)
	policies := dig(vault, "properties", "accessPolicies").([]any)
	found := false
	for _, p := range policies {
		policy := p.(map[string]any)
		if policy["objectId"] == principal {
			policy["permissions"] = map[string]any{"keys": permissions}
			found = true
		}
	}
	if !found {
		c.ts.Fatalf("the vault has no access policy for %s in tenant %s", principal, tenant)
	}
	c.do("PUT", arm+id+"/accessPolicies/replace"+kvVersion, map[string]any{"properties": map[string]any{"accessPolicies": policies}})
}

// keyVersions are the URLs of the versions of the vault's only key, as the vault lists them.
func (c *azureClient) keyVersions() []string {
	base := "https://" + c.vault()["name"].(string) + ".vault.azure.net/keys"
	name := c.only(base + "?api-version=7.4")["kid"].(string)
	list, _ := c.do("GET", name+"/versions?api-version=7.4", nil)["value"].([]any)
	if len(list) == 0 {
		c.ts.Fatalf("%s has no versions", name)
	}
	var kids []string
	for _, v := range list {
		kids = append(kids, v.(map[string]any)["kid"].(string))
	}
	return kids
}

func dig(v any, path ...string) any {
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return fmt.Sprintf("no %s", p)
		}
		v = m[p]
	}
	return v
}
