package keyvault

import (
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"

	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// importRequest carries a private key in JWK form (RFC 7518, section 6.3).
type importRequest struct {
	Key struct {
		Kty string   `json:"kty"`
		Ops []string `json:"key_ops"`
		N   string   `json:"n"`
		E   string   `json:"e"`
		D   string   `json:"d"`
		P   string   `json:"p"`
		Q   string   `json:"q"`
	} `json:"key"`
	Attributes keyAttributes     `json:"attributes"`
	Tags       map[string]string `json:"tags"`
}

// importKey keeps the caller's own key pair as the newest version.
func (s *Service) importKey(r *request) (int, any, error) {
	if r.target.name == "" || r.target.version != "" {
		return 0, nil, badParameter("A key is imported under its name, without a version.")
	}
	var in importRequest
	if err := wire.Decode(r.Request, &in); err != nil {
		return 0, nil, badParameter("The request body is not what key import takes.")
	}
	spec := Spec{
		Type: in.Key.Kty, Ops: in.Key.Ops, Tags: in.Tags,
		Enabled: in.Attributes.Enabled, NotBefore: in.Attributes.NotBefore, Expires: in.Attributes.Expires,
	}
	if err := check(r.vault, &spec); err != nil {
		return 0, nil, err
	}
	private, err := in.private()
	if err != nil {
		return 0, nil, badParameter("The imported key is not a complete, valid RSA key of 2048 to 4096 bits.")
	}
	return s.add(r, spec, private)
}

// private builds the key and proves that its parts belong together. Its errors say nothing about the parts.
func (in *importRequest) private() (*rsa.PrivateKey, error) {
	var n, e, d, p, q big.Int
	for part, text := range map[*big.Int]string{&n: in.Key.N, &e: in.Key.E, &d: in.Key.D, &p: in.Key.P, &q: in.Key.Q} {
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
		if err != nil || len(raw) == 0 {
			return nil, errors.New("a part is missing or is not base64url")
		}
		part.SetBytes(raw)
	}
	if bits := n.BitLen(); bits < 2048 || bits > 4096 || e.BitLen() > 31 {
		return nil, errors.New("the size is not supported")
	}
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: &n, E: int(e.Int64())}, D: &d, Primes: []*big.Int{&p, &q},
	}
	if err := key.Validate(); err != nil {
		return nil, errors.New("the parts do not belong together")
	}
	key.Precompute()
	return key, nil
}
