package gitpush

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// Signer takes the key that commits are signed with out of a key ring, armored or binary: the one whose id or
// fingerprint ends in id, or the ring's only one when id is empty.
func Signer(ring []byte, id, passphrase string) (*openpgp.Entity, error) {
	keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(ring))
	if err != nil {
		keys, err = openpgp.ReadKeyRing(bytes.NewReader(ring))
	}
	if err != nil { // whose text is left out: nothing that parses a private key is trusted not to quote it
		return nil, usage("the OpenPGP key ring can't be read", "export one: gpg --export-secret-keys --armor ID > FILE")
	}
	var fit []*openpgp.Entity
	for _, k := range keys {
		if k.PrivateKey != nil && strings.HasSuffix(fmt.Sprintf("%X", k.PrimaryKey.Fingerprint), strings.ToUpper(strings.TrimPrefix(id, "0x"))) {
			fit = append(fit, k)
		}
	}
	if len(fit) != 1 {
		return nil, usage(fmt.Sprintf("%d private keys of the OpenPGP key ring fit %q", len(fit), id), "name the one to sign with: --gpg-key-id ID")
	}
	if passphrase != "" || fit[0].PrivateKey.Encrypted {
		if err := fit[0].DecryptPrivateKeys([]byte(passphrase)); err != nil {
			return nil, usage("the passphrase does not open the OpenPGP key", "give the right one with --gpg-passphrase")
		}
	}
	return fit[0], nil
}
