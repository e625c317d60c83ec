package githost

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"strconv"

	"golang.org/x/crypto/ssh"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// KeySpec says what key pair to make. The zero value is an ECDSA key on P-384, as Flux makes it.
type KeySpec struct {
	Algorithm string // ecdsa, ed25519 or rsa
	Curve     string // of ecdsa: p256, p384 or p521
	Bits      int    // of rsa, 2048 or more
}

// NewKey makes a key pair: the private half in PEM, the public half in authorized_keys' format.
func NewKey(k KeySpec) (private, public []byte, err error) {
	key, err := k.generate()
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(block), ssh.MarshalAuthorizedKey(signer.PublicKey()), nil
}

func (k KeySpec) generate() (crypto.PrivateKey, error) {
	switch k.Algorithm {
	case "", "ecdsa":
		curves := map[string]elliptic.Curve{"p256": elliptic.P256(), "": elliptic.P384(), "p384": elliptic.P384(), "p521": elliptic.P521()}
		curve, ok := curves[k.Curve]
		if !ok {
			return nil, badKey("--ssh-ecdsa-curve "+strconv.Quote(k.Curve), "use p256, p384 or p521")
		}
		return ecdsa.GenerateKey(curve, rand.Reader)
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return &key, err
	case "rsa":
		bits := k.Bits
		if bits == 0 {
			bits = 2048
		}
		if bits < 2048 || bits%8 != 0 {
			return nil, badKey(fmt.Sprintf("--ssh-rsa-bits %d", bits), "use 2048 or more, a multiple of 8")
		}
		return rsa.GenerateKey(rand.Reader, bits)
	}
	return nil, badKey("--ssh-key-algorithm "+strconv.Quote(k.Algorithm), "use ecdsa, ed25519 or rsa")
}

func badKey(flag, fix string) error {
	return &fault.Fault{Code: "SLU-USAGE-061", Hop: fault.HopUsage, Seen: flag + " is not a key that can be made", Fix: fix}
}
