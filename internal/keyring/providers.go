package keyring

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// maxPart bounds what a decrypted data key may be: 32 bytes, one more as a Shamir part.
const maxPart = 4 << 10

// cost orders recipients: what this process can do alone comes before the network, and where the identity cannot sign
// in comes last.
func (s *session) cost(k recipient.Key) int {
	able := true
	switch k.(type) {
	case *recipient.Age:
		return 0
	case *recipient.PGP:
		return 1
	case *recipient.AzureKV:
		able = s.part.vaults != nil
	case *recipient.KMS:
		able = s.part.aws != nil
	case *recipient.GCPKMS:
		able = s.part.google != nil
	case *recipient.HCVault:
		able = s.part.transit != nil
	}
	if able {
		return 2
	}
	return 3
}

// unwrap asks one recipient's provider for the data key.
func (s *session) unwrap(ctx context.Context, k recipient.Key) ([]byte, error) {
	switch k := k.(type) {
	case *recipient.Age:
		return s.unwrapAge(ctx, k)
	case *recipient.PGP:
		return s.unwrapPGP(ctx, k)
	case *recipient.AzureKV:
		return s.unwrapAzure(ctx, k)
	case *recipient.KMS:
		return s.unwrapAWS(ctx, k)
	case *recipient.GCPKMS:
		return s.unwrapGoogle(ctx, k)
	case *recipient.HCVault:
		return s.unwrapTransit(ctx, k)
	}
	return nil, errNotOurs
}

func (s *session) unwrapAge(ctx context.Context, k *recipient.Age) ([]byte, error) {
	if s.id.station != nil {
		return s.id.station.openAge(ctx, k)
	}
	if len(s.id.Age) == 0 {
		return nil, errNotOurs
	}
	part, err := openAge(k, s.id.Age)
	if err != nil && !s.plausible(k) {
		return nil, errNotOurs
	}
	return part, err
}

// openAge tries identities on an age recipient. Its error is a fault.
func openAge(k *recipient.Age, ids []age.Identity) ([]byte, error) {
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(k.EncryptedKey)), ids...)
	if err == nil {
		var part []byte
		if part, err = readPart(r); err == nil {
			return part, nil
		}
	}
	return nil, undecryptable("age recipient " + k.Recipient)
}

// unwrapPGP decrypts in this process where it has the key: no gpg binary, no agent, no key ring on disk. Only a person's
// machine has those.
func (s *session) unwrapPGP(ctx context.Context, k *recipient.PGP) ([]byte, error) {
	if s.id.station != nil {
		return s.id.station.openPGP(ctx, k)
	}
	if len(s.id.PGP) == 0 {
		return nil, errNotOurs
	}
	part, err := openPGP(k, s.id.PGP)
	if err != nil && !s.plausible(k) {
		return nil, errNotOurs
	}
	return part, err
}

// readPart reads a data key to its end, where the last check of its integrity stands. What is longer is none.
func readPart(r io.Reader) ([]byte, error) {
	part, err := io.ReadAll(io.LimitReader(r, maxPart+1))
	if err == nil && len(part) > maxPart {
		err = errTooLong
	}
	return part, err
}

var errTooLong = errors.New("longer than a data key")

func openPGP(k *recipient.PGP, list openpgp.EntityList) ([]byte, error) {
	block, err := pgparmor.Decode(strings.NewReader(k.EncryptedKey))
	if err == nil {
		var msg *openpgp.MessageDetails
		if msg, err = openpgp.ReadMessage(block.Body, list, nil, nil); err == nil {
			var part []byte
			if part, err = readPart(msg.UnverifiedBody); err == nil {
				return part, nil
			}
		}
	}
	return nil, undecryptable("PGP key " + k.Fingerprint)
}

func (s *session) unwrapAzure(ctx context.Context, k *recipient.AzureKV) ([]byte, error) {
	if s.part.vaults == nil {
		return nil, orNotOurs(s.id.AzureErr)
	}
	id := azureID(k)
	enc, err := keyvault.DecodeEnc(k.EncryptedKey)
	if err != nil {
		return nil, undecryptable("Key Vault key " + id.String())
	}
	return s.part.vaults.Unwrap(ctx, id, enc)
}

func azureID(k *recipient.AzureKV) keyvault.KeyID {
	return keyvault.KeyID{Vault: strings.TrimSuffix(k.VaultURL, "/"), Name: k.Name, Version: k.Version}
}

// plausible reports whether the identity should be able to open a recipient, by the public names of both. Recipients
// are tried regardless, where that is free: the names in a document are anybody's to write. It decides whose failure is
// told.
func (s *session) plausible(k recipient.Key) bool {
	if s.id.station != nil {
		return true // who has no key for a recipient says so with errNotOurs
	}
	switch k := k.(type) {
	case *recipient.Age:
		for _, id := range s.id.Age {
			if name := ageRecipient(id); name == k.Recipient || name == "" && strings.HasPrefix(k.Recipient, "ssh-") {
				return true
			}
		}
	case *recipient.PGP:
		return holdsPGP(s.id.PGP, k.Fingerprint)
	case *recipient.AzureKV:
		return s.id.Azure != nil || s.id.AzureErr != nil
	case *recipient.KMS:
		return s.id.AWS != nil || s.id.AWSErr != nil
	case *recipient.GCPKMS:
		return s.id.Google != nil || s.id.GoogleErr != nil
	case *recipient.HCVault:
		return s.id.Vault != nil || s.id.VaultErr != nil
	}
	return false
}

// ageRecipient gives the public name of an identity, empty for kinds that do not tell theirs.
func ageRecipient(id age.Identity) string {
	switch id := id.(type) {
	case *age.X25519Identity:
		return id.Recipient().String()
	case *age.HybridIdentity:
		return id.Recipient().String()
	}
	return ""
}

// holdsPGP compares a document's fingerprint, which may be a long or short key id, with primary keys and subkeys.
func holdsPGP(list openpgp.EntityList, fingerprint string) bool {
	want := strings.ToUpper(strings.ReplaceAll(fingerprint, " ", ""))
	if len(want) < 8 {
		return false
	}
	for _, e := range list {
		if strings.HasSuffix(hexUpper(e.PrimaryKey.Fingerprint), want) {
			return true
		}
		for _, sub := range e.Subkeys {
			if strings.HasSuffix(hexUpper(sub.PublicKey.Fingerprint), want) {
				return true
			}
		}
	}
	return false
}

func hexUpper(b []byte) string {
	const digits = "0123456789ABCDEF"
	var out bytes.Buffer
	for _, c := range b {
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String()
}
