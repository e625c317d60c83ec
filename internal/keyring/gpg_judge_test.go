//go:build judges

package keyring

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// gnupg runs the real gpg with a home of its own.
func gnupg(t *testing.T, home string, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gpg %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

// gnupgHome makes a key in a fresh home, whose path must be short: the agent's socket is in it.
func gnupgHome(t *testing.T) (home, fingerprint string) {
	t.Helper()
	home, err := os.MkdirTemp("", "gpg")
	must(t, err)
	must(t, os.Chmod(home, 0o700))
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		must(t, os.RemoveAll(home))
	})
	gnupg(t, home, nil, "--quick-generate-key", "sluice <sluice@example.test>", "default", "default", "never")
	for line := range strings.Lines(string(gnupg(t, home, nil, "--with-colons", "--list-keys"))) {
		if f := strings.Split(line, ":"); f[0] == "fpr" {
			return home, f[9]
		}
	}
	t.Fatal("gpg lists no key")
	return "", ""
}

func TestJudgeGnuPGAndSopsOpenWhatWeSealOfflineAndTheOtherWayRound(t *testing.T) {
	home, fingerprint := gnupgHome(t)
	t.Setenv("GNUPGHOME", home)
	public, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(gnupg(t, home, nil, "--armor", "--export", fingerprint)))
	must(t, err)
	secret := gnupg(t, home, nil, "--armor", "--export-secret-keys", fingerprint)
	named := func() *recipient.PGP { return recipient.NewPGP(fingerprint) }

	// Sealed offline, with the public half alone.
	k := named()
	enc, handled, err := Wrapper{PGP: public}.Wrap(t.Context(), k, []byte("data key"))
	if err != nil || !handled {
		t.Fatal(handled, err)
	}
	if got := gnupg(t, home, enc, "-d"); string(got) != "data key" {
		t.Errorf("gpg: %q", got)
	}
	k.SetWrapped(enc)
	if got, err := upstreamOpens(t, k); err != nil || string(got) != "data key" {
		t.Errorf("sops: %q, %v", got, err)
	}

	// Sealed by sops, which calls gpg; opened by the controller, which does not.
	k = named()
	upstreamWraps(t, k, []byte("data key"))
	id, err := FromSecret("s", map[string][]byte{"sops.asc": secret})
	must(t, err)
	s := &session{id: id}
	if got, err := s.unwrapPGP(t.Context(), k); err != nil || string(got) != "data key" {
		t.Errorf("we, of sops's: %q, %v", got, err)
	}

	// A person's machine uses gpg for both.
	person, err := Workstation(t.Context(), WorkstationOptions{Home: t.TempDir()})
	must(t, err)
	r := New(Options{})
	doc := seal(t, Wrapper{Online: r.Online(person)}, recipient.Group{named()})
	if err := open(t, r.For(person), doc); err != nil {
		t.Errorf("a person's machine: %v", err)
	}
	if err := open(t, r.For(id), doc); err != nil {
		t.Errorf("the controller, of a person's: %v", err)
	}

	// Without the private half gpg says so, and nothing it says is repeated.
	other, _ := gnupgHome(t)
	t.Setenv("GNUPGHOME", other)
	person, err = Workstation(t.Context(), WorkstationOptions{Home: t.TempDir()})
	must(t, err)
	wantFault(t, open(t, New(Options{}).For(person), doc), "SLU-KEYRING-001")
	_, _, err = Wrapper{Online: r.Online(person)}.Wrap(t.Context(), named(), []byte(canary))
	noCanary(t, err)
	wantFault(t, err, "SLU-KEYRING-021")
}
