package keyring

import (
	"bytes"
	"context"
	"crypto/rsa"
	"fmt"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/pgp"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// Wrapper encrypts data keys for recipients whose public keys are at hand, without network, permission or gpg binary.
// Its Wrap method is what sops.SealOptions asks for.
type Wrapper struct {
	Azure map[keyvault.KeyID]*rsa.PublicKey // by id with version
	PGP   openpgp.EntityList
}

// AzureRecipient is the recipient that a document names for a Key Vault key. id must have a version, because the
// ciphertext belongs to one.
func AzureRecipient(id keyvault.KeyID, created time.Time) keys.MasterKey {
	return &azkv.MasterKey{VaultURL: id.Vault, Name: id.Name, Version: id.Version, CreationDate: created.UTC().Truncate(time.Second)}
}

// Wrap implements sops.SealOptions.Wrap for Key Vault and PGP recipients.
func (w Wrapper) Wrap(_ context.Context, recipient keys.MasterKey, dataKey []byte) (enc []byte, handled bool, err error) {
	switch k := recipient.(type) {
	case *azkv.MasterKey:
		pub := w.Azure[azureID(k)]
		if pub == nil {
			return nil, false, nil
		}
		raw, err := keyvault.WrapOffline(pub, dataKey)
		if err != nil {
			return nil, true, unwrappable(recipient)
		}
		return []byte(keyvault.EncodeEnc(raw)), true, nil
	case *pgp.MasterKey:
		for _, e := range w.PGP {
			if holdsPGP(openpgp.EntityList{e}, k.Fingerprint) {
				enc, err := wrapPGP(e, dataKey)
				if err != nil {
					return nil, true, unwrappable(recipient)
				}
				return enc, true, nil
			}
		}
	}
	return nil, false, nil
}

func wrapPGP(e *openpgp.Entity, dataKey []byte) ([]byte, error) {
	var buf bytes.Buffer
	out, err := pgparmor.Encode(&buf, "PGP MESSAGE", nil)
	if err != nil {
		return nil, err
	}
	in, err := openpgp.Encrypt(out, []*openpgp.Entity{e}, nil, &openpgp.FileHints{IsBinary: true}, nil)
	if err != nil {
		return nil, err
	}
	if _, err := in.Write(dataKey); err != nil {
		return nil, err
	}
	if err := in.Close(); err != nil {
		return nil, err
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func unwrappable(k keys.MasterKey) *fault.Fault {
	return &fault.Fault{
		Code: "SLU-KEYRING-005", Hop: fault.HopKeyring, Object: describe(k),
		Seen: "the data key cannot be encrypted with this public key",
		Why:  "the key is too short, has expired, or is not one for encryption",
		Fix:  fmt.Sprintf("fetch the current public key of %s", strings.TrimSpace(k.ToString())),
	}
}
