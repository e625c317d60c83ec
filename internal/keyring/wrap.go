package keyring

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// Wrapper encrypts data keys: for recipients whose public keys are at hand without network, permission or gpg binary, for
// the others through Online. Its Wrap method is what sops.SealOptions asks for.
type Wrapper struct {
	Azure map[keyvault.KeyID]*rsa.PublicKey // by id with version
	PGP   openpgp.EntityList

	// Online asks the recipients' own services, and gpg on a workstation, as one identity. nil: the work stays offline,
	// and Wrap leaves those recipients unhandled.
	Online *Online
}

// Online is a Ring seen by one identity, for encrypting.
type Online struct {
	ring *Ring
	id   Identity
}

// Online returns what encrypts as an identity. It sends nothing by itself.
func (r *Ring) Online(id Identity) *Online { return &Online{ring: r, id: id} }

// AzureRecipient is the recipient that a document names for a Key Vault key. id must have a version, because the
// ciphertext belongs to one.
func AzureRecipient(id keyvault.KeyID, created time.Time) recipient.Key {
	return &recipient.AzureKV{VaultURL: id.Vault, Name: id.Name, Version: id.Version, CreationDate: created.UTC().Truncate(time.Second)}
}

// Wrap implements sops.SealOptions.Wrap. age is left to package sops, which needs nothing but the recipient. A Key
// Vault recipient without version gets the version that its data key was encrypted with.
func (w Wrapper) Wrap(ctx context.Context, to recipient.Key, dataKey []byte) (enc []byte, handled bool, err error) {
	switch k := to.(type) {
	case *recipient.AzureKV:
		if id, pub := w.publicKey(azureID(k)); pub != nil {
			raw, err := keyvault.WrapOffline(pub, dataKey)
			if err != nil {
				return nil, true, unwrappable(to)
			}
			k.Version = id.Version
			return []byte(keyvault.EncodeEnc(raw)), true, nil
		}
	case *recipient.PGP:
		for _, e := range w.PGP {
			if holdsPGP(openpgp.EntityList{e}, k.Fingerprint) {
				enc, err := wrapPGP(e, dataKey)
				if err != nil {
					return nil, true, unwrappable(to)
				}
				return enc, true, nil
			}
		}
	}
	if w.Online == nil {
		return nil, false, nil
	}
	return w.Online.wrap(ctx, to, dataKey)
}

// publicKey finds a stored key. An id without version is served where the store has one version of that key alone: which
// of several is the newest cannot be told from here.
func (w Wrapper) publicKey(id keyvault.KeyID) (keyvault.KeyID, *rsa.PublicKey) {
	if id.Version != "" {
		return id, w.Azure[id]
	}
	var found keyvault.KeyID
	for have := range w.Azure {
		if have.Vault == id.Vault && have.Name == id.Name {
			if found.Name != "" {
				return id, nil
			}
			found = have
		}
	}
	return found, w.Azure[found]
}

// wrap asks the recipient's own service.
func (o *Online) wrap(ctx context.Context, to recipient.Key, dataKey []byte) (enc []byte, handled bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.ring.opts.Timeout)
	defer cancel()
	p := o.ring.partition(o.id)
	switch k := to.(type) {
	case *recipient.AzureKV:
		if p.vaults == nil {
			return nil, true, o.cannot(to, o.id.AzureErr)
		}
		id, raw, err := p.vaults.Wrap(ctx, azureID(k), dataKey)
		if err != nil {
			return nil, true, err
		}
		k.Version = id.Version
		return []byte(keyvault.EncodeEnc(raw)), true, nil
	case *recipient.PGP:
		if o.id.station == nil {
			return nil, false, nil
		}
		enc, err := o.id.station.sealPGP(ctx, k, dataKey)
		return enc, true, err
	case *recipient.KMS:
		if p.aws == nil {
			return nil, true, o.cannot(to, o.id.AWSErr)
		}
		raw, err := p.aws.Encrypt(ctx, awsKey(k), dataKey)
		return base64Std(raw), true, err
	case *recipient.GCPKMS:
		if p.google == nil {
			return nil, true, o.cannot(to, o.id.GoogleErr)
		}
		raw, err := p.google.Encrypt(ctx, k.ResourceID, dataKey)
		return base64Std(raw), true, err
	case *recipient.HCVault:
		if p.transit == nil {
			return nil, true, o.cannot(to, o.id.VaultErr)
		}
		enc, err := p.transit.Encrypt(ctx, transitKey(k), dataKey)
		return []byte(enc), true, err
	}
	return nil, false, nil
}

// cannot tells that the identity has nothing to encrypt with for this recipient.
func (o *Online) cannot(to recipient.Key, err error) error {
	if err != nil {
		return err
	}
	return &fault.Fault{
		Code: "SLU-KEYRING-006", Hop: fault.HopKeyring, Object: "identity " + o.id.Name,
		Seen: "the data key cannot be encrypted for " + describe(to),
		Why:  "the identity cannot sign in where that key is",
		Fix:  "sign in there first, or encrypt where the key's public half is stored",
	}
}

// base64Std is how documents store what AWS and Google give.
func base64Std(raw []byte) []byte { return base64.StdEncoding.AppendEncode(nil, raw) }

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

func unwrappable(k recipient.Key) *fault.Fault {
	return &fault.Fault{
		Code: "SLU-KEYRING-005", Hop: fault.HopKeyring, Object: describe(k),
		Seen: "the data key cannot be encrypted with this public key",
		Why:  "the key is too short, has expired, or is not one for encryption",
		Fix:  fmt.Sprintf("fetch the current public key of %s", strings.TrimSpace(k.String())),
	}
}
