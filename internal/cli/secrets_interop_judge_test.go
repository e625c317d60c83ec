//go:build judges

package cli

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The matrix of TestInteroperationWithUpstream for PGP, which sops can only do with a gpg program: GnuPG is the judge of
// both commands.
func TestJudgePGPInteroperation(t *testing.T) {
	home, err := os.MkdirTemp("", "gpg") // the agent's socket lies in it, so the path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	b := newBench(t)
	b.env = append(b.env, "GNUPGHOME="+home)
	gpg := func(args ...string) string {
		code, out, errOut := b.process("gpg", append([]string{"--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...), "")
		if code != 0 {
			t.Fatalf("gpg %v: exit %d: %s", args, code, errOut)
		}
		return out
	}
	gpg("--quick-generate-key", "sluice <sluice@example.test>", "default", "default", "never")
	fingerprint := ""
	for line := range strings.Lines(gpg("--with-colons", "--list-keys")) {
		if f := strings.Split(line, ":"); f[0] == "fpr" && fingerprint == "" {
			fingerprint = f[9]
		}
	}
	table := measure(t, b, []interopRecipient{{"PGP", []string{"--pgp", fingerprint}}})
	t.Log("\n" + table)
	if n := strings.Count(table, "✓"); n != 2*len(documents)*len(selections) {
		t.Errorf("%d cells of %d", n, 2*len(documents)*len(selections))
	}
}
