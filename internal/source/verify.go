package source

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/go-git/go-git/v5/plumbing"
	"golang.org/x/crypto/ssh"
)

// Keys are the public keys of the authors that are trusted.
type Keys struct {
	PGP []string // armored key rings
	SSH []string // lines of authorized_keys or allowed_signers
}

// KeysOf sorts a Secret's entries as Flux does: those named *.sshpub are SSH keys, all others PGP key rings.
func KeysOf(data map[string][]byte) Keys {
	var k Keys
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if strings.HasSuffix(name, ".sshpub") {
			k.SSH = append(k.SSH, string(data[name]))
		} else {
			k.PGP = append(k.PGP, string(data[name]))
		}
	}
	return k
}

// ErrNotSigned says that a tag has no signature: it is a lightweight one, or an annotated one without.
var ErrNotSigned = errors.New("it is not signed")

// Tag returns how the revision's tag is called in messages, name@sha1:hash of the tag object or the bare name of a
// lightweight tag; empty if the revision was not asked for by a tag.
func (r *Revision) Tag() string {
	if r.tag.IsZero() {
		return r.tagName
	}
	return r.tagName + "@sha1:" + r.tag.String()
}

// VerifyCommit verifies the signature of the revision's commit and returns the signing key: a PGP key id or an SSH
// fingerprint. It holds the stored bytes of the object against the signature, never a re-encoding.
func (r *Revision) VerifyCommit(keys Keys) (string, error) {
	raw, err := r.raw(plumbing.NewHash(r.Commit.Hash), plumbing.CommitObject)
	if err != nil {
		return "", err
	}
	payload, signature, err := signedCommit(raw)
	if err != nil {
		return "", err
	}
	return keys.verify(payload, signature)
}

// VerifyTag is VerifyCommit for the tag object. Its error is ErrNotSigned where there is nothing to verify.
func (r *Revision) VerifyTag(keys Keys) (string, error) {
	if r.tag.IsZero() {
		return "", ErrNotSigned
	}
	raw, err := r.raw(r.tag, plumbing.TagObject)
	if err != nil {
		return "", err
	}
	payload, signature, err := signedTag(raw, r.tagName, r.Commit.Hash)
	if err == nil && signature == "" {
		err = ErrNotSigned
	}
	if err != nil {
		return "", err
	}
	return keys.verify(payload, signature)
}

func (r *Revision) raw(h plumbing.Hash, t plumbing.ObjectType) ([]byte, error) {
	tree, ok := r.Tree.(*gitTree)
	if !ok {
		return nil, errors.New("the revision is not one of a Git repository")
	}
	o, err := tree.store.object(h, t)
	if err != nil {
		return nil, err
	}
	return content(o)
}

func (k Keys) verify(payload []byte, signature string) (string, error) {
	switch {
	case strings.HasPrefix(signature, beginPGP):
		if len(k.PGP) == 0 {
			return "", errors.New("PGP signature detected but no PGP public keys found in secret (keys with .asc suffix)")
		}
		return k.verifyPGP(payload, signature)
	case strings.HasPrefix(signature, beginSSH):
		if len(k.SSH) == 0 {
			return "", errors.New("SSH signature detected but no SSH public keys found in secret (keys with .sshpub suffix)")
		}
		return k.verifySSH(payload, signature)
	case signature == "":
		return "", errors.New("it has no signature")
	}
	return "", errors.New("unsupported signature type: neither PGP nor SSH")
}

func (k Keys) verifyPGP(payload []byte, signature string) (key string, err error) {
	defer func() {
		// The library has panicked on malformed packets before; a signature is a stranger's data.
		if cause := recover(); cause != nil {
			key, err = "", errors.New("the signature is malformed")
		}
	}()
	unreadable := 0
	for _, ring := range k.PGP {
		entities, err := openpgp.ReadArmoredKeyRing(strings.NewReader(ring))
		if err != nil {
			unreadable++
			continue
		}
		signer, err := openpgp.CheckArmoredDetachedSignature(entities, bytes.NewReader(payload), strings.NewReader(signature), nil)
		if err == nil {
			return signer.PrimaryKey.KeyIdString(), nil
		}
	}
	if unreadable > 0 {
		return "", fmt.Errorf("unable to verify payload with any of the given key rings; %d of them cannot be read", unreadable)
	}
	return "", errors.New("unable to verify payload with any of the given key rings")
}

// sshsig is the body of an SSH signature, after its magic; see PROTOCOL.sshsig of OpenSSH.
type sshsig struct {
	Version   uint32
	PublicKey string
	Namespace string
	Reserved  string
	Hash      string
	Signature string
}

const sshMagic = "SSHSIG"

func (k Keys) verifySSH(payload []byte, signature string) (string, error) {
	sig, err := parseSSHSig(signature)
	if err != nil {
		return "", err
	}
	var digest []byte
	switch sig.Hash {
	case "sha256":
		sum := sha256.Sum256(payload)
		digest = sum[:]
	case "sha512":
		sum := sha512.Sum512(payload)
		digest = sum[:]
	default:
		return "", fmt.Errorf("the SSH signature's hash is %q", quoted(sig.Hash))
	}
	var inner ssh.Signature
	if err := ssh.Unmarshal([]byte(sig.Signature), &inner); err != nil {
		return "", errors.New("the SSH signature is malformed")
	}
	if inner.Format == ssh.KeyAlgoRSA || inner.Format == "ssh-dss" { // both sign SHA-1
		return "", fmt.Errorf("the SSH signature's algorithm is %s", inner.Format)
	}
	for _, lines := range k.SSH {
		allowed, err := parseSigners(lines)
		if err != nil {
			return "", err
		}
		for _, key := range allowed {
			if string(key.Marshal()) != sig.PublicKey {
				continue
			}
			if err := key.Verify(signedBlob(sig.Namespace, sig.Reserved, sig.Hash, digest), &inner); err != nil {
				return "", errors.New("the SSH signature is not of this object")
			}
			return ssh.FingerprintSHA256(key), nil
		}
	}
	return "", errors.New("unable to verify payload with any of the given authorized keys")
}

// signedBlob is what an SSH signature really signs.
func signedBlob(namespace, reserved, hash string, digest []byte) []byte {
	return append([]byte(sshMagic), ssh.Marshal(struct{ Namespace, Reserved, Hash, Digest string }{namespace, reserved, hash, string(digest)})...)
}

func parseSSHSig(text string) (sshsig, error) {
	var sig sshsig
	malformed := errors.New("the SSH signature is malformed")
	body, ok := strings.CutPrefix(strings.TrimSpace(text), beginSSH)
	if !ok {
		return sig, malformed
	}
	if body, ok = strings.CutSuffix(body, "-----END SSH SIGNATURE-----"); !ok {
		return sig, malformed
	}
	blob, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(body), ""))
	if err != nil || !bytes.HasPrefix(blob, []byte(sshMagic)) || ssh.Unmarshal(blob[len(sshMagic):], &sig) != nil {
		return sig, malformed
	}
	switch {
	case sig.Version != 1:
		return sig, fmt.Errorf("the SSH signature has version %d", sig.Version)
	case sig.Namespace != "git":
		return sig, fmt.Errorf("the SSH signature is for %q, not for git", quoted(sig.Namespace))
	}
	return sig, nil
}

// parseSigners reads public keys, one a line, as authorized_keys has them, or allowed_signers with principals alone. A key that its line makes
// an authority over other keys, or limits to other uses than Git's, is left out; a limit in time is refused, not ignored.
func parseSigners(text string) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, errors.New("unable to parse authorized key: an .sshpub entry of the secret holds a line that is no SSH public key")
		}
		usable := true
		for _, o := range options {
			name, value, _ := strings.Cut(o, "=")
			switch strings.ToLower(name) {
			case "cert-authority":
				usable = false
			case "namespaces":
				usable = slices.Contains(strings.Split(strings.Trim(value, `"`), ","), "git")
			case "valid-after", "valid-before":
				return nil, fmt.Errorf("an .sshpub entry of the secret limits a key by %s, which is not supported", name)
			}
		}
		if usable {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
