package keyvault

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // RSA-OAEP names it
	_ "crypto/sha256"
	"encoding/base64"
	"errors"
	"math/big"
	"net/http"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

type cryptRequest struct {
	Alg   string `json:"alg"`
	Value string `json:"value"`
}

type cryptAnswer struct {
	Kid   string `json:"kid"`
	Value string `json:"value"` // unpadded base64url: clients can't read it with padding
}

// opNames are the operations as key_ops spells them, by path segment.
var opNames = map[string]string{"encrypt": "encrypt", "decrypt": "decrypt", "wrapkey": "wrapKey", "unwrapkey": "unwrapKey"}

// crypt does encrypt, decrypt, wrapkey and unwrapkey. A disabled version refuses what needs its private half, and only
// that; nbf and exp stop neither direction (azure-protocol.md, section 2).
func (s *Service) crypt(r *request) (int, any, error) {
	key, version, err := find(r.vault, r.target)
	if err != nil {
		return 0, nil, err
	}
	private := r.target.action == "decrypt" || r.target.action == "unwrapkey"
	if private && !version.Enabled {
		return 0, nil, refuse(http.StatusForbidden, "Forbidden", "KeyDisabled",
			"Operation %s is not allowed on a disabled key.", r.target.action)
	}
	if !slices.Contains(version.Ops, opNames[r.target.action]) {
		return 0, nil, refuse(http.StatusForbidden, "Forbidden", "KeyOperationForbidden",
			"Operation %s is not permitted on this key.", r.target.action)
	}
	var in cryptRequest
	if err := wire.Decode(r.Request, &in); err != nil {
		return 0, nil, badParameter("The request body is not what a key operation takes.")
	}
	value, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(in.Value, "="))
	if err != nil || len(value) == 0 {
		return 0, nil, badParameter("Property value is missing or is not base64url.")
	}
	var out []byte
	if private {
		out, err = s.decrypt(version, in.Alg, value)
	} else {
		out, err = encrypt(version, in.Alg, value)
	}
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, cryptAnswer{
		Kid: keyURL(r.vault, key) + "/" + version.ID, Value: base64.RawURLEncoding.EncodeToString(out),
	}, nil
}

// oaep are the hashes of the OAEP algorithms, for the padding and its mask alike.
var oaep = map[string]crypto.Hash{"RSA-OAEP": crypto.SHA1, "RSA-OAEP-256": crypto.SHA256}

const pkcs1v15 = "RSA1_5"

func encrypt(version *store.KeyVersion, alg string, plain []byte) ([]byte, error) {
	public, err := publicKey(version)
	if err != nil {
		return nil, err
	}
	var out []byte
	switch hash, ok := oaep[alg]; {
	case ok:
		out, err = rsa.EncryptOAEP(hash.New(), rand.Reader, public, plain, nil)
	case alg == pkcs1v15:
		//lint:ignore SA1019 Key Vault still offers RSA1_5, and files encrypted with it exist
		out, err = rsa.EncryptPKCS1v15(rand.Reader, public, plain)
	default:
		return nil, badParameter("The algorithm '%s' is not supported by an RSA key.", alg)
	}
	if errors.Is(err, rsa.ErrMessageTooLong) {
		return nil, badParameter("The value is too long for this key and algorithm.")
	}
	return out, err
}

func (s *Service) decrypt(version *store.KeyVersion, alg string, ciphertext []byte) ([]byte, error) {
	private, err := s.store.PrivateKey(version.ID)
	if err != nil {
		return nil, err
	}
	var out []byte
	switch hash, ok := oaep[alg]; {
	case ok:
		out, err = rsa.DecryptOAEP(hash.New(), nil, private, ciphertext, nil)
	case alg == pkcs1v15:
		//lint:ignore SA1019 as for encryption
		out, err = rsa.DecryptPKCS1v15(nil, private, ciphertext)
	default:
		return nil, badParameter("The algorithm '%s' is not supported by an RSA key.", alg)
	}
	if err != nil {
		return nil, badParameter("The parameter is incorrect.") // Azure says no more about a ciphertext that isn't this key's
	}
	return out, nil
}

func publicKey(version *store.KeyVersion) (*rsa.PublicKey, error) {
	n, errN := base64.RawURLEncoding.DecodeString(version.N)
	e, errE := base64.RawURLEncoding.DecodeString(version.E)
	if err := errors.Join(errN, errE); err != nil {
		return nil, err
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
}
