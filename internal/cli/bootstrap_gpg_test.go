package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/sluice-gitops/sluice/internal/testkit/gitserver"
)

const gpgPassphrase = "canary-gpg-0815"

// keyRing is a file of several keys, the last locked by gpgPassphrase, and the keys.
func keyRing(t *testing.T, armored bool, names ...string) (string, []*openpgp.Entity) {
	t.Helper()
	var ring bytes.Buffer
	var keys []*openpgp.Entity
	for i, name := range names {
		e, err := openpgp.NewEntity(name, "", strings.ToLower(name)+"@example.com", nil)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, e)
		if i == len(names)-1 {
			if err := e.EncryptPrivateKeys([]byte(gpgPassphrase), &packet.Config{}); err != nil {
				t.Fatal(err)
			}
			err = e.SerializePrivateWithoutSigning(&ring, nil)
		} else {
			err = e.SerializePrivate(&ring, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !armored {
		return file(t, ring.Bytes()), keys
	}
	var text bytes.Buffer
	w, err := armor.Encode(&text, openpgp.PrivateKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(ring.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file(t, text.Bytes()), keys
}

// signature takes a commit apart as Git stores it: what is signed, and the signature.
func signature(t *testing.T, commit string) (signed, sig string) {
	t.Helper()
	head, rest, found := strings.Cut(commit, "\ngpgsig ")
	if !found {
		t.Fatalf("no signature in\n%s", commit)
	}
	var lines []string
	for {
		line, more, _ := strings.Cut(rest, "\n")
		lines = append(lines, strings.TrimPrefix(line, " "))
		if !strings.HasPrefix(more, " ") {
			return head + "\n" + more + "\n", strings.Join(lines, "\n")
		}
		rest = more
	}
}

func TestBootstrapSignsWithTheKeyOfTheRingThatIsNamed(t *testing.T) {
	r, host := newRoom(t), gitserver.New(t)
	r.controlled()
	base := []string{"bootstrap", "git", "--url", host.URL, "--username", gitserver.User, "--password", gitserver.Password, "--ca-file", file(t, host.CA)}
	for i, armored := range []bool{true, false} {
		ring, keys := keyRing(t, armored, "Ada", "Grace")
		args := append(base, "--path", fmt.Sprintf("clusters/%d", i), "--gpg-key-ring", ring)
		for _, wrong := range [][]string{{}, {"--gpg-key-id", "0123456789ABCDEF"}, {"--gpg-key-id", keys[1].PrimaryKey.KeyIdString()},
			{"--gpg-key-id", keys[1].PrimaryKey.KeyIdString(), "--gpg-passphrase", "wrong"}} {
			_, errs, code := r.run(append(args, wrong...)...)
			if code != 2 || !strings.Contains(errs, "--gpg-") {
				t.Errorf("%q: exit %d: %s", wrong, code, errs)
			}
		}
		told := r.ok(append(args, "--gpg-key-id", strings.ToLower(keys[1].PrimaryKey.KeyIdString()), "--gpg-passphrase", gpgPassphrase)...)
		if strings.Contains(told, gpgPassphrase) {
			t.Error("the passphrase is told")
		}
		signed, sig := signature(t, host.Git("cat-file", "commit", "main"))
		if _, err := openpgp.CheckArmoredDetachedSignature(openpgp.EntityList{keys[1]}, strings.NewReader(signed), strings.NewReader(sig), nil); err != nil {
			t.Errorf("the signature: %v", err)
		}
		if _, err := openpgp.CheckArmoredDetachedSignature(openpgp.EntityList{keys[0]}, strings.NewReader(signed), strings.NewReader(sig), nil); err == nil {
			t.Error("the other key verifies it too")
		}
		if _, err := openpgp.CheckArmoredDetachedSignature(openpgp.EntityList{keys[1]}, strings.NewReader(signed+"x"), strings.NewReader(sig), nil); err == nil {
			t.Error("a changed commit is verified")
		}
	}
}
