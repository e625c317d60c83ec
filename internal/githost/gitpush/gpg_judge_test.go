//go:build judges

package gitpush_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	. "github.com/sluice-gitops/sluice/internal/githost/gitpush"
	"github.com/sluice-gitops/sluice/internal/testkit/gitserver"
)

// A key that gpg made and locked signs, and git with gpg verifies the commit, in another home that has the public half.
func TestJudgeGitVerifiesCommitsSignedWithAKeyOfGnuPG(t *testing.T) {
	for _, algorithm := range []string{"ed25519", "rsa3072"} {
		t.Run(algorithm, func(t *testing.T) {
			home, other := gnupgHome(t), gnupgHome(t)
			gnupg(t, home, nil, "--quick-generate-key", "Sluice <sluice@example.test>", algorithm, "sign", "never")
			signer, err := Signer(gnupg(t, home, nil, "--armor", "--export-secret-keys"), "", passphrase)
			if err != nil {
				t.Fatal(err)
			}
			s := gitserver.New(t)
			c := change(map[string]string{"x": "y"})
			c.Signer = signer
			commit(t, https(s), c)
			verify := func() ([]byte, error) {
				cmd := exec.Command("git", "verify-commit", "--verbose", "main")
				cmd.Dir = s.Bare
				cmd.Env = append(os.Environ(), "GNUPGHOME="+other, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
				return cmd.CombinedOutput()
			}
			if out, err := verify(); err == nil {
				t.Errorf("verified without the key:\n%s", out)
			}
			gnupg(t, other, gnupg(t, home, nil, "--armor", "--export"), "--import")
			if out, err := verify(); err != nil || !strings.Contains(string(out), "Good signature") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

const passphrase = "canary-gpg-0815"

func gnupg(t *testing.T, home string, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", passphrase}, args...)...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gpg %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

// gnupgHome is a fresh home, whose path must be short: the agent's socket is in it.
func gnupgHome(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	return home
}
