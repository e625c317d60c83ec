//go:build judges

package emulator_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/emulator"
)

// TestJudgeAzureCLIOnboardsAndUsesAKey lets the unmodified `az` make and use everything, by proxy and CA alone. Keys go through `az rest`: Debian's 2.45
// lacks a Python module that every `az keyvault key` command loads.
func TestJudgeAzureCLIOnboardsAndUsesAKey(t *testing.T) {
	az, err := exec.LookPath("az")
	if err != nil {
		t.Fatal("az is not installed: apt-get install azure-cli")
	}
	a := start(t, emulator.Options{})
	env, home := a.Env(), t.TempDir()
	run := func(args ...string) any {
		t.Helper()
		c := exec.Command(az, append(args, "-o", "json")...)
		c.Env = append(os.Environ(), "HOME="+home, "AZURE_CONFIG_DIR="+home, "AZURE_CORE_COLLECT_TELEMETRY=0",
			"HTTPS_PROXY=http://"+a.Addr(), "https_proxy=http://"+a.Addr(), "NO_PROXY=", "no_proxy=", "REQUESTS_CA_BUNDLE="+a.CAFile())
		var errs strings.Builder
		c.Stderr = &errs
		out, err := c.Output()
		if err != nil {
			t.Fatalf("az %s: %v\n%s", strings.Join(args, " "), err, errs.String())
		}
		if len(out) == 0 {
			return nil
		}
		var v any
		if err := json.Unmarshal(out, &v); err != nil {
			t.Fatalf("az %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return v
	}
	run("login", "--service-principal", "-u", env.DeveloperClientID, "-p", env.DeveloperSecret, "--tenant", env.TenantID)
	if got := dig(run("account", "show"), "id"); got != env.SubscriptionID {
		t.Errorf("account %v", got)
	}
	run("group", "create", "-n", "rg", "-l", "westeurope")
	identity := run("identity", "create", "-g", "rg", "-n", "flux")
	run("identity", "federated-credential", "create", "-g", "rg", "--identity-name", "flux", "-n", "flux",
		"--issuer", env.IssuerURL, "--subject", subject, "--audiences", audience)
	if list := run("identity", "list").([]any); len(list) != 1 || dig(list[0], "clientId") != dig(identity, "clientId") {
		t.Errorf("identities %v", list)
	}
	run("keyvault", "create", "-g", "rg", "-n", "sample", "-l", "westeurope", "--no-self-perms", "--enable-rbac-authorization", "false")
	run("keyvault", "set-policy", "-n", "sample", "--object-id", dig(identity, "principalId").(string), "--key-permissions", "get", "decrypt")
	run("keyvault", "set-policy", "-n", "sample", "--object-id", env.DeveloperObjectID, "--key-permissions", "all")
	if got := dig(run("keyvault", "show", "-n", "sample"), "properties", "vaultUri"); got != "https://sample.vault.azure.net/" {
		t.Errorf("vault %v", got)
	}
	rest := func(method, path string, body object) any {
		t.Helper()
		args := []string{"rest", "--method", method, "--url", "https://sample.vault.azure.net/keys/sops" + path + "?api-version=7.4", "--resource", "https://vault.azure.net"}
		if body != nil {
			data, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			args = append(args, "--body", string(data))
		}
		return run(args...)
	}
	rest("post", "/create", object{"kty": "RSA", "key_size": 2048})
	sealed := rest("post", "/encrypt", object{"alg": "RSA-OAEP-256", "value": "aGVsbG8"})
	if got := dig(rest("post", "/decrypt", object{"alg": "RSA-OAEP-256", "value": dig(sealed, "value")}), "value"); got != "aGVsbG8" {
		t.Errorf("decrypted %v", got)
	}
	a.mustARM("PUT", group+"/providers/Microsoft.ContainerService/managedClusters/aks", object{"location": "westeurope", "properties": object{"oidcIssuerProfile": object{"enabled": true}}})
	if got := dig(run("aks", "show", "-g", "rg", "-n", "aks"), "oidcIssuerProfile", "issuerUrl"); got != env.IssuerURL {
		t.Errorf("issuer %v", got)
	}
}
