package source

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"golang.org/x/crypto/ssh"
)

func sample(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/signed", name))
	check(t, err)
	return data
}

func sampleKeys(t testing.TB) Keys {
	return KeysOf(map[string][]byte{"ada.asc": sample(t, "ada.asc"), "ada.sshpub": sample(t, "ada.sshpub")})
}

// The samples were signed by git with ssh-keygen and gpg.
func TestSignaturesOfGitItselfAreVerified(t *testing.T) {
	keys := sampleKeys(t)
	for _, kind := range []string{"ssh", "pgp"} {
		payload, signature, err := signedCommit(sample(t, kind+".commit"))
		check(t, err)
		if key, err := keys.verify(payload, signature); err != nil || kind == "ssh" != strings.HasPrefix(key, "SHA256:") {
			t.Errorf("%s commit: key %q, %v", kind, key, err)
		}
		raw := sample(t, kind+".tag")
		commit := strings.Fields(string(raw))[1]
		name := map[string]string{"ssh": "v1.0.0", "pgp": "v2.0.0"}[kind]
		payload, signature, err = signedTag(raw, name, commit)
		check(t, err)
		if _, err := keys.verify(payload, signature); err != nil {
			t.Errorf("%s tag: %v", kind, err)
		}
		if _, _, err := signedTag(raw, "v9.9.9", commit); err == nil {
			t.Errorf("%s: the tag passes under another name", kind)
		}
		if _, _, err := signedTag(raw, name, strings.Repeat("0", 40)); err == nil {
			t.Errorf("%s: the tag passes for another commit", kind)
		}
	}
}

func TestNoByteOfASignedObjectCanBeChanged(t *testing.T) {
	keys := sampleKeys(t)
	for _, name := range []string{"ssh.commit", "pgp.commit"} {
		raw := sample(t, name)
		want, _, err := signedCommit(raw)
		check(t, err)
		for i := range raw {
			changed := bytes.Clone(raw)
			changed[i] ^= 1
			payload, signature, err := signedCommit(changed)
			if err != nil || bytes.Equal(payload, want) {
				continue // not a commit, or only the signature's own text was touched
			}
			if _, err := keys.verify(payload, signature); err == nil {
				t.Errorf("%s verifies with byte %d changed", name, i)
			}
		}
	}
}

func TestKeysThatMayNotSignDoNot(t *testing.T) {
	payload, signature, err := signedCommit(sample(t, "ssh.commit"))
	check(t, err)
	ada := string(sample(t, "ada.sshpub"))
	stranger := ssh.MarshalAuthorizedKey(rsaKeyOnce())
	for _, tt := range []struct{ name, entry, want string }{
		{"authorized_keys", "# comment\n\n" + ada, ""},
		{"allowed_signers", "ada@example.org " + ada, ""},
		{"for git among others", `namespaces="file,git" ` + ada, ""},
		{"for files alone", `namespaces="file" ` + ada, "any of the given"},
		{"an authority", "cert-authority " + ada, "any of the given"},
		{"a limit in time", `valid-before="20300101" ` + ada, "not supported"},
		{"a stranger", string(stranger), "any of the given"},
		{"rubbish", "ssh-ed25519 AAAA", "no SSH public key"},
	} {
		_, err := Keys{SSH: []string{tt.entry}}.verify(payload, signature)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	for name, keys := range map[string]Keys{"no SSH": {PGP: []string{"x"}}, "none": {}} {
		if _, err := keys.verify(payload, signature); err == nil || !strings.Contains(err.Error(), "no SSH public keys found in secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (Keys{PGP: []string{"rubbish"}}).verify(payload, beginPGP+"\n"); err == nil {
		t.Error("an unreadable ring and an empty signature pass")
	}
}

func TestAmbiguousCommitsAreRefused(t *testing.T) {
	id := "Ada <ada@example.org> 1700000000 +0000"
	tree, other := "tree "+strings.Repeat("a", 40)+"\n", "tree "+strings.Repeat("b", 40)+"\n"
	who := "author " + id + "\ncommitter " + id + "\n"
	for name, raw := range map[string]string{
		"two trees":              tree + other + who + "\nm",
		"second tree at the end": tree + who + other + "\nm",
		"tree after parent":      "parent " + strings.Repeat("c", 40) + "\n" + tree + who + "\nm",
		"parent after author":    tree + who + "parent " + strings.Repeat("c", 40) + "\n\nm",
		"two signatures":         tree + who + "gpgsig a\ngpgsig b\n\nm",
		"two committers":         tree + who + "committer x\n\nm",
		"no author":              tree + "committer " + id + "\n\nm",
		"continuation first":     " x\n" + tree + who + "\nm",
		"NUL":                    tree + who + "x \x00\n\nm",
		"no end":                 tree + who + "x",
	} {
		if _, _, err := signedCommit([]byte(raw)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	payload, signature, err := signedCommit([]byte(tree + who + "\n\n c\nencoding x\ngpgsig no\n"))
	if err != nil || signature != "" {
		t.Errorf("a blank line ends the headers: %q, %q, %v", payload, signature, err)
	}
	payload, signature, err = signedCommit([]byte(tree + who + "gpgsig a\n b\nencoding x\ngpgsig-sha256 z\n y\n\nmessage\n"))
	if err != nil || signature != "a\nb" || string(payload) != tree+who+"encoding x\n\nmessage\n" {
		t.Errorf("payload %q, signature %q, %v", payload, signature, err)
	}
}

// signer makes SSH and PGP keys and signs as git does.
type signer struct {
	ssh    ssh.Signer
	entity *openpgp.Entity
}

func newSigner(t testing.TB) signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	s, err := ssh.NewSignerFromKey(key)
	check(t, err)
	e, err := openpgp.NewEntity("Ada", "", "ada@example.org", nil)
	check(t, err)
	return signer{s, e}
}

func (s signer) keys(t testing.TB) Keys {
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	check(t, err)
	check(t, s.entity.Serialize(w))
	check(t, w.Close())
	return Keys{PGP: []string{b.String()}, SSH: []string{string(ssh.MarshalAuthorizedKey(s.ssh.PublicKey()))}}
}

func (s signer) signSSH(t testing.TB, payload []byte, namespace string) string {
	sum := sha512.Sum512(payload)
	sig, err := s.ssh.Sign(rand.Reader, signedBlob(namespace, "", "sha512", sum[:]))
	check(t, err)
	blob := append([]byte(sshMagic), ssh.Marshal(sshsig{1, string(s.ssh.PublicKey().Marshal()), namespace, "", "sha512", string(ssh.Marshal(sig))})...)
	return beginSSH + "\n" + base64.StdEncoding.EncodeToString(blob) + "\n-----END SSH SIGNATURE-----"
}

func (s signer) signPGP(t testing.TB, payload []byte) string {
	var b bytes.Buffer
	check(t, openpgp.ArmoredDetachSign(&b, s.entity, bytes.NewReader(payload), nil))
	return b.String()
}

// commitRaw stores a commit of the given bytes, or those with a signature header, as branch name.
func (h *host) commitRaw(t testing.TB, branch string, raw []byte, signature string) string {
	t.Helper()
	if signature != "" {
		head, body, _ := bytes.Cut(raw, []byte("\n\n"))
		raw = []byte(string(head) + "\ngpgsig " + strings.ReplaceAll(strings.TrimSpace(signature), "\n", "\n ") + "\n\n" + string(body))
	}
	return h.object(t, "commit", "refs/heads/"+branch, raw)
}

func (h *host) object(t testing.TB, kind, ref string, raw []byte) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "object")
	check(t, os.WriteFile(at, raw, 0o600))
	hash := git(t, h.bare, "hash-object", "-t", kind, "-w", "--literally", at)
	git(t, h.bare, "update-ref", ref, hash)
	return hash
}

func TestRevisionsAreVerifiedOutOfTheStore(t *testing.T) {
	h, s, other := newHost(t, nil), newSigner(t), newSigner(t)
	h.commit(t, map[string]string{"f": "one"})
	raw := []byte(git(t, h.work, "cat-file", "commit", "HEAD") + "\n")
	signed := h.commitRaw(t, "ssh", raw, s.signSSH(t, raw, "git"))
	h.commitRaw(t, "pgp", raw, s.signPGP(t, raw))
	h.commitRaw(t, "file", raw, s.signSSH(t, raw, "file"))
	tag := []byte("object " + signed + "\ntype commit\ntag v1.0.0\ntagger Ada <ada@example.org> 1700000000 +0000\n\nfirst\n")
	h.object(t, "tag", "refs/tags/v1.0.0", append(bytes.Clone(tag), s.signPGP(t, tag)...))
	h.object(t, "tag", "refs/tags/v2.0.0", append(bytes.Clone(tag), s.signPGP(t, tag)...)) // a replay
	h.object(t, "tag", "refs/tags/v3.0.0", bytes.Replace(tag, []byte("v1.0.0"), []byte("v3.0.0"), 1))
	git(t, h.bare, "update-ref", "refs/tags/v4.0.0", signed)

	m := openMirror(t)
	for _, branch := range []string{"ssh", "pgp"} {
		rev := fetch(t, m, Spec{URL: h.url(), Branch: branch}, nil)
		if key, err := rev.VerifyCommit(s.keys(t)); err != nil || key == "" {
			t.Errorf("%s: %q, %v", branch, key, err)
		}
		if _, err := rev.VerifyCommit(other.keys(t)); err == nil {
			t.Errorf("%s: verified with a stranger's keys", branch)
		}
		if _, err := rev.VerifyTag(s.keys(t)); !errors.Is(err, ErrNotSigned) || rev.Tag() != "" {
			t.Errorf("%s has no tag: %v", branch, err)
		}
	}
	if _, err := fetch(t, m, Spec{URL: h.url(), Branch: "main"}, nil).VerifyCommit(s.keys(t)); err == nil {
		t.Error("an unsigned commit is verified")
	}
	if _, err := fetch(t, m, Spec{URL: h.url(), Branch: "file"}, nil).VerifyCommit(s.keys(t)); err == nil || !strings.Contains(err.Error(), "not for git") {
		t.Errorf("a signature for files: %v", err)
	}
	for name, want := range map[string]string{"v1.0.0": "", "v2.0.0": "named \"v1.0.0\"", "v3.0.0": "not signed", "v4.0.0": "not signed"} {
		rev := fetch(t, m, Spec{URL: h.url(), Tag: name}, nil)
		_, err := rev.VerifyTag(s.keys(t))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("tag %s: %v, want %q", name, err, want)
		}
	}
}

func TestATagThatMovedToAnotherObjectOfTheSameCommitIsFetched(t *testing.T) {
	h, s := newHost(t, nil), newSigner(t)
	commit := h.commit(t, map[string]string{"f": "one"})
	tag := []byte("object " + commit + "\ntype commit\ntag v1.0.0\ntagger Ada <ada@example.org> 1700000000 +0000\n\nfirst\n")
	h.object(t, "tag", "refs/tags/v1.0.0", tag)
	m, spec := openMirror(t), Spec{URL: h.url(), Tag: "v1.0.0"}
	first := fetch(t, m, spec, nil)
	git(t, h.bare, "tag", "-d", "v1.0.0")
	h.object(t, "tag", "refs/tags/v1.0.0", append(bytes.Clone(tag), s.signPGP(t, tag)...))
	second := fetch(t, m, spec, first)
	if _, err := second.VerifyTag(s.keys(t)); err != nil || second.Tag() == first.Tag() || second.Name != first.Name {
		t.Errorf("%s after %s: %v", second.Tag(), first.Tag(), err)
	}
}

func TestACommitWithTwoTreesIsRefusedBeforeItsTreeIsRead(t *testing.T) {
	h, s := newHost(t, nil), newSigner(t)
	h.commit(t, map[string]string{"f": "one"})
	raw := git(t, h.work, "cat-file", "commit", "HEAD") + "\n"
	h.commit(t, map[string]string{"f": "evil"})
	evil := "tree " + git(t, h.work, "rev-parse", "HEAD^{tree}") + "\n"
	for name, bytes := range map[string]string{"first": evil + raw, "second": strings.Replace(raw, "\nauthor", "\n"+evil+"author", 1)} {
		h.commitRaw(t, "evil", []byte(bytes), s.signSSH(t, []byte(raw), "git"))
		t.Run(name, func(t *testing.T) {
			refused(t, openMirror(t), Spec{URL: h.url(), Branch: "evil"}, "SLU-GIT-015")
		})
	}
}
