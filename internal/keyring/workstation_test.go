package keyring

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// desk is a person's machine with nothing on it.
type desk struct {
	home string
	env  map[string]string
	ask  func(string) (string, error)
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	home := t.TempDir()
	return &desk{home: home, env: map[string]string{"XDG_CONFIG_HOME": filepath.Join(home, "config"), "SOPS_GPG_EXEC": filepath.Join(home, "no-gpg")}}
}

func (d *desk) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(d.home, name)
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(content), 0o700))
	return path
}

func (d *desk) open(t *testing.T, doc []byte) error {
	t.Helper()
	id, err := Workstation(t.Context(), WorkstationOptions{
		Env: func(k string) string { return d.env[k] }, Home: d.home, Stderr: io.Discard, Ask: d.ask,
	})
	must(t, err)
	return open(t, New(Options{}).For(id), doc)
}

// sshKey gives an ed25519 key: its file, and its age recipient.
func sshKey(t *testing.T, passphrase string) (file string, group recipient.Group) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	must(t, err)
	k, err := recipient.ParseAge(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))))
	must(t, err)
	return string(pem.EncodeToMemory(block)), recipient.Group{k}
}

func TestAWorkstationFindsAgeKeysWhereSopsDoes(t *testing.T) {
	a, other := ageKey(t), ageKey(t)
	doc := seal(t, Wrapper{}, recipient.Group{ageRecipientKey(t, a)})
	sshFile, sshRecipient := sshKey(t, "")
	sshDoc := seal(t, Wrapper{}, sshRecipient)
	lockedFile, lockedRecipient := sshKey(t, "open sesame")
	lockedDoc := seal(t, Wrapper{}, lockedRecipient)
	for _, tt := range []struct {
		name    string
		prepare func(*desk)
		doc     []byte
	}{
		{"SOPS_AGE_KEY, two on a line", func(d *desk) { d.env[envAgeKey] = "# mine\n" + other.String() + " " + a.String() }, doc},
		{"SOPS_AGE_KEY_FILE", func(d *desk) { d.env[envAgeKeyFile] = d.write(t, "k", "# public key: x\n"+a.String()+"\n") }, doc},
		{"keys.txt", func(d *desk) { d.write(t, "config/sops/age/keys.txt", a.String()) }, doc},
		{"keys.txt beside an unusable file", func(d *desk) {
			d.env[envAgeKeyFile] = d.write(t, "k", canary)
			d.write(t, "config/sops/age/keys.txt", a.String())
		}, doc},
		{"SOPS_AGE_KEY_CMD is told the recipient", func(d *desk) {
			script := d.write(t, "my key", "#!/bin/sh\n[ \"$SOPS_AGE_RECIPIENT\" = \"$1\" ] && echo "+a.String())
			d.env[envAgeKeyCmd] = "'" + script + "' " + a.Recipient().String()
		}, doc},
		{"SOPS_AGE_SSH_PRIVATE_KEY_FILE", func(d *desk) { d.env[envAgeSSHFile] = d.write(t, "k", sshFile) }, sshDoc},
		{"SOPS_AGE_SSH_PRIVATE_KEY_CMD", func(d *desk) { d.env[envAgeSSHCmd] = "cat " + d.write(t, "k", sshFile) }, sshDoc},
		{"~/.ssh/id_ed25519", func(d *desk) { d.write(t, ".ssh/id_ed25519", sshFile) }, sshDoc},
		{"~/.ssh/id_ed25519 with a passphrase", func(d *desk) {
			d.write(t, ".ssh/id_ed25519", lockedFile)
			d.ask = func(string) (string, error) { return "open sesame", nil }
		}, lockedDoc},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t)
			wantFault(t, d.open(t, tt.doc), "SLU-KEYRING-001")
			tt.prepare(d)
			if err := d.open(t, tt.doc); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAWorkstationWithAnUnusableKeySaysWhichAndNotWhatItHolds(t *testing.T) {
	a := ageKey(t)
	d := newDesk(t)
	doc := seal(t, Wrapper{}, recipient.Group{ageRecipientKey(t, a)})
	d.env[envAgeKeyFile] = d.write(t, "mine", "AGE-SECRET-KEY-1"+canary)
	d.env[envAgeKeyCmd] = "/bin/false " + canary
	f := wantFault(t, d.open(t, doc), "SLU-KEYRING-020")
	if !strings.Contains(f.Why, "mine: line 1 is not an age identity") || !strings.Contains(f.Why, envAgeKeyCmd+": false: exit status 1") {
		t.Errorf("why: %s", f.Why)
	}
	d.env[envAgeKeyFile] = filepath.Join(d.home, "gone")
	if f := wantFault(t, d.open(t, doc), "SLU-KEYRING-020"); !strings.Contains(f.Why, "there is no such file") {
		t.Errorf("why: %s", f.Why)
	}
	pgpDoc := &sops.Metadata{KeyGroups: []recipient.Group{{recipient.NewPGP("0123456789ABCDEF0123456789ABCDEF01234567")}}}
	id, err := Workstation(t.Context(), WorkstationOptions{Env: func(k string) string { return d.env[k] }, Home: d.home})
	must(t, err)
	_, err = New(Options{}).For(id).DataKey(t.Context(), pgpDoc)
	if f := wantFault(t, err, "SLU-KEYRING-021"); !strings.Contains(f.Seen, "there is no gpg program") {
		t.Errorf("seen: %s", f.Seen)
	}
}

func TestCommandsRunOnlyForDocumentsThatNeedThemAndOnceARecipient(t *testing.T) {
	a, b := ageKey(t), ageKey(t)
	d := newDesk(t)
	d.write(t, "config/sops/age/keys.txt", a.String())
	ran := filepath.Join(d.home, "ran")
	d.env[envAgeKeyCmd] = d.write(t, "cmd", "#!/bin/sh\necho x >> "+ran+"; echo "+b.String())
	id, err := Workstation(t.Context(), WorkstationOptions{Env: func(k string) string { return d.env[k] }, Home: d.home})
	must(t, err)
	ring := New(Options{}).For(id)
	must(t, open(t, ring, seal(t, Wrapper{}, recipient.Group{ageRecipientKey(t, a)})))
	if _, err := os.Stat(ran); err == nil {
		t.Error("the command ran for a document that keys.txt opens")
	}
	for range 3 {
		must(t, open(t, ring, seal(t, Wrapper{}, recipient.Group{ageRecipientKey(t, b)})))
	}
	if out, _ := os.ReadFile(ran); string(out) != "x\n" {
		t.Errorf("the command ran %d times, want once", len(out)/2)
	}
}

func TestScryptIsNoRecipientAndPostQuantumKeysAre(t *testing.T) {
	pq, err := age.GenerateHybridIdentity()
	must(t, err)
	k, err := recipient.ParseAge(pq.Recipient().String())
	must(t, err)
	id, err := FromSecret("x", map[string][]byte{"a.agekey": []byte(pq.String())})
	must(t, err)
	if err := open(t, New(Options{}).For(id), seal(t, Wrapper{}, recipient.Group{k})); err != nil {
		t.Error(err)
	}
	d := newDesk(t)
	d.env[envAgeKey] = pq.String()
	if err := d.open(t, seal(t, Wrapper{}, recipient.Group{k})); err != nil {
		t.Error(err)
	}
	if _, err := FromSecret("x", map[string][]byte{"a.agekey": []byte("AGE-PLUGIN-YUBIKEY-1QQPQQQQ")}); err == nil {
		t.Error("a controller took a plugin")
	}
}

func TestCommandLinesAreSplitAsAShellDoes(t *testing.T) {
	for line, want := range map[string]string{
		`a b  c`: "a|b|c", `'a b' c`: "a b|c", `"a \"b\"" c`: `a "b"|c`, `a\ b`: "a b", ``: "", `'' x`: "|x", `"a\n"`: `a\n`,
		`$(x) ~`: "$(x)|~",
	} {
		if got, err := splitCommand(line); err != nil || strings.Join(got, "|") != want {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
	for _, line := range []string{`'a`, `"a`, `a\`} {
		if _, err := splitCommand(line); err == nil {
			t.Errorf("%s: accepted", line)
		}
	}
}
