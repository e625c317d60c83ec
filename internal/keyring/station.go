package keyring

import (
	"context"
	"errors"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// openAge tries a person's identities on an age recipient: first those that open by themselves, then those that ask for
// a passphrase or a touch, one document at a time, then those that commands give.
func (s *station) openAge(ctx context.Context, k *recipient.Age) ([]byte, error) {
	var silent, asking []age.Identity
	for _, id := range s.ageIdentities() {
		switch id.(type) {
		case *age.X25519Identity, *age.HybridIdentity, *agessh.Ed25519Identity, *agessh.RSAIdentity:
			silent = append(silent, id)
		default:
			asking = append(asking, id)
		}
	}
	if part, err := openAge(k, silent); err == nil && len(silent) > 0 {
		return part, nil
	}
	if len(asking) > 0 {
		s.age.unwrapping.Lock()
		part, err := openAge(k, asking)
		s.age.unwrapping.Unlock()
		if err == nil {
			return part, nil
		}
	}
	given := s.ageFromCommands(ctx, k.Recipient)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if len(given) > 0 {
		s.age.unwrapping.Lock()
		part, err := openAge(k, given)
		s.age.unwrapping.Unlock()
		if err == nil {
			return part, nil
		}
	}
	for _, id := range append(silent, given...) {
		if ageRecipient(id) == k.Recipient {
			return nil, undecryptable("age recipient " + k.Recipient)
		}
	}
	if problems := s.ageProblems(k.Recipient); len(problems) > 0 {
		return nil, &fault.Fault{
			Code: "SLU-KEYRING-020", Hop: fault.HopKeyring, Object: "age recipient " + k.Recipient,
			Seen: "no age key opens it", Why: strings.Join(problems, "; "),
			Fix: "export " + envAgeKeyFile + "=<key file>",
		}
	}
	return nil, errNotOurs
}

// openPGP asks gpg, whose agent has the keys.
func (s *station) openPGP(ctx context.Context, k *recipient.PGP) ([]byte, error) {
	part, err := s.gpgDecrypt(ctx, k.EncryptedKey)
	if err == nil || errors.Is(err, errNotOurs) || ctx.Err() != nil {
		return part, err
	}
	return nil, s.gpgFault(k, err, "decrypt the data key", "gpg --list-secret-keys "+k.Fingerprint)
}

// sealPGP encrypts with gpg for a public key of the user's key ring.
func (s *station) sealPGP(ctx context.Context, k *recipient.PGP, dataKey []byte) ([]byte, error) {
	enc, err := s.gpgEncrypt(ctx, k.Fingerprint, dataKey)
	if err == nil || ctx.Err() != nil {
		return enc, err
	}
	return nil, s.gpgFault(k, err, "encrypt the data key", "gpg --recv-keys "+k.Fingerprint)
}

func (s *station) gpgFault(k *recipient.PGP, err error, what, fix string) *fault.Fault {
	f := &fault.Fault{
		Code: "SLU-KEYRING-021", Hop: fault.HopKeyring, Object: "PGP key " + k.Fingerprint,
		Seen: "gpg could not " + what, Why: "the key is not in the key ring, has expired, or its passphrase was not given", Fix: fix,
	}
	if errors.Is(err, errNoGPG) {
		f.Seen, f.Fix = "there is no gpg program to "+what+" with", "install GnuPG, or name its program in SOPS_GPG_EXEC"
		f.Why = "the private keys of PGP are with gpg and its agent"
	}
	return f
}

// holdings tells where age keys were looked for.
func (s *station) holdings() string {
	var names []string
	for _, id := range s.ageIdentities() {
		if name := ageRecipient(id); name != "" {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return "the age keys of " + strings.Join(names, ", ")
	}
	return "no age key (looked in " + strings.Join(s.age.places, ", ") + ")"
}

// stationFix is what a person can do about a missing key.
func stationFix(kinds map[string]bool) string {
	switch {
	case kinds["age"]:
		return "export " + envAgeKeyFile + "=<key file>"
	case kinds["pgp"]:
		return "gpg --import <private key file>"
	case kinds["azure_kv"]:
		return "az login"
	case kinds["kms"]:
		return "aws sso login"
	case kinds["gcp_kms"]:
		return "gcloud auth application-default login"
	case kinds["hc_vault"]:
		return "vault login"
	}
	return "sign in to the service that holds one of the keys"
}
