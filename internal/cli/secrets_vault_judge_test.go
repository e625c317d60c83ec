//go:build judges

package cli

import (
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/testkit/realvault"
)

// vaultBench is a bench whose person may use a real Vault.
func vaultBench(t *testing.T) (*bench, *realvault.Server) {
	t.Helper()
	b, s := newBench(t), realvault.Start(t)
	b.env = append(b.env, "NO_PROXY=127.0.0.1", "SOPS_HC_VAULT_ALLOWLIST=all", "VAULT_TOKEN="+s.Root)
	return b, s
}

// The column of TestInteroperationWithUpstream for Vault's transit engine, with HashiCorp's own server.
func TestJudgeVaultInteroperation(t *testing.T) {
	b, s := vaultBench(t)
	table := measure(t, b, []interopRecipient{{"Vault transit", []string{"--hc-vault-transit", s.KeyURI("sops")}}})
	t.Log("\n" + table)
	if n := strings.Count(table, "✓"); n != 2*len(documents)*len(selections) {
		t.Errorf("%d cells of %d", n, 2*len(documents)*len(selections))
	}
}

func TestJudgeVaultKeyRotationIsTakenUpByRotate(t *testing.T) {
	b, s := vaultBench(t)
	file := b.write("db.yaml", documents["secret.yaml"])
	b.must("encrypt", "--hc-vault-transit", s.KeyURI("sops"), "-i", file)
	s.Write(t, "transit/keys/sops/rotate", nil)
	opens := func(version string) {
		t.Helper()
		if text := readFile(t, file); !strings.Contains(text, "enc: vault:"+version+":") {
			t.Errorf("not sealed under %s:\n%s", version, text)
		}
		if plain := b.must("decrypt", file); plain != documents["secret.yaml"] {
			t.Errorf("we open it to\n%s", plain)
		}
		if code, plain, errOut := b.sops("--decrypt", file); code != 0 || plain != documents["secret.yaml"] {
			t.Errorf("sops opens it to\n%s\n%s", plain, errOut)
		}
	}
	opens("v1")
	b.must("rotate", "-i", file)
	opens("v2")
	s.Write(t, "transit/keys/sops/config", map[string]any{"min_decryption_version": 2})
	opens("v2")
}

func TestJudgeVaultsPolicyDecidesAndTheTokenIsNotSaid(t *testing.T) {
	b, s := vaultBench(t)
	token := s.Token(t, "writes", "transit/encrypt/sops")
	b.env = append(b.env, "VAULT_TOKEN="+token)
	file := b.write("db.yaml", documents["secret.yaml"])
	b.must("encrypt", "--hc-vault-transit", s.KeyURI("sops"), "-i", file)
	code, out, errOut := b.sluice("decrypt", file)
	if code == 0 || out != "" || strings.Contains(errOut, token) {
		t.Errorf("exit %d\n%s\n%s", code, out, errOut)
	}
	for _, want := range []string{"403", "may not use the key", "vault policy write -address=" + s.Address, `path "transit/decrypt/sops"`} {
		if !strings.Contains(errOut, want) {
			t.Errorf("no %q in\n%s", want, errOut)
		}
	}
	s.Policy(t, "writes", "transit/encrypt/sops", "transit/decrypt/sops")
	if plain := b.must("decrypt", file); plain != documents["secret.yaml"] {
		t.Errorf("opened to\n%s", plain)
	}
}
