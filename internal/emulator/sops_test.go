package emulator_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getsops/sops/v3/azkv"

	"github.com/sluice-gitops/sluice/internal/emulator"
)

const sopsChild = "SLUICE_TEST_SOPS_KEY"

// TestUnmodifiedSOPSWorksByProxyAndCAAlone runs SOPS's own Key Vault code in a process of its own whose environment has
// the proxy, the CA and an identity, and nothing else of the emulator's: no option, no transport.
func TestUnmodifiedSOPSWorksByProxyAndCAAlone(t *testing.T) {
	a, clientID := onboarded(t, emulator.Options{})
	a.mustARM("PUT", vaultPath+"/accessPolicies/add", object{"properties": object{"accessPolicies": []any{
		a.policy(dig(a.mustARM("GET", identityPath, nil), "properties", "principalId").(string), "encrypt"),
	}}})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(a.assertion(nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	version := dig(a.mustARM("GET", vaultPath+"/keys/sops", nil), "properties", "keyUriWithVersion").(string)
	env := a.Env()
	for name, tt := range map[string]struct {
		key      string
		identity []string
	}{
		"developer, versionless": {"https://sample.vault.azure.net/keys/sops", []string{"AZURE_CLIENT_ID=" + env.DeveloperClientID, "AZURE_CLIENT_SECRET=" + env.DeveloperSecret}},
		"developer, versioned":   {version, []string{"AZURE_CLIENT_ID=" + env.DeveloperClientID, "AZURE_CLIENT_SECRET=" + env.DeveloperSecret}},
		"workload, versionless":  {"https://sample.vault.azure.net/keys/sops/", []string{"AZURE_CLIENT_ID=" + clientID, "AZURE_FEDERATED_TOKEN_FILE=" + file, "AZURE_AUTHORITY_HOST=https://login.microsoftonline.com/"}},
	} {
		t.Run(name, func(t *testing.T) {
			child := exec.Command(os.Args[0], "-test.run", "^TestSOPSChild$", "-test.count=1")
			child.Env = append([]string{
				"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), sopsChild + "=" + tt.key,
				"HTTPS_PROXY=http://" + a.Addr(), "SSL_CERT_FILE=" + a.CAFile(), "AZURE_TENANT_ID=" + env.TenantID,
			}, tt.identity...)
			out, err := child.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "PASS") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestSOPSChild is the process that the test above starts.
func TestSOPSChild(t *testing.T) {
	url := os.Getenv(sopsChild)
	if url == "" {
		t.Skip("runs only as the child of another test")
	}
	key, err := azkv.NewMasterKeyFromURL(url)
	if err != nil {
		t.Fatal(err)
	}
	dataKey := bytes.Repeat([]byte{7}, 32)
	if err := key.EncryptContext(t.Context(), dataKey); err != nil {
		t.Fatal(err)
	}
	got, err := key.DecryptContext(t.Context())
	if err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("opened %x, %v", got, err)
	}
}
