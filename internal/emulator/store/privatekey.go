package store

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// SigningKey is the id under which Entra ID's token-signing key is kept.
const SigningKey = "entra-signing"

var keyID = lazyregexp.New(`^[a-z0-9-]{1,64}$`)

func (s *Store) keyPath(id string) (string, error) {
	if !keyID.MatchString(id) {
		return "", fmt.Errorf("%q is no key id", id)
	}
	return filepath.Join(s.dir, keysName, id+".pem"), nil
}

// PutPrivateKey keeps key under id. Put it before the Update that names it: a crash in between leaves a file that the
// next Open drops, never a key version without its private half.
func (s *Store) PutPrivateKey(id string, key *rsa.PrivateKey) error {
	path, err := s.keyPath(id)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the private key: %w", err)
	}
	s.keys.Lock()
	defer s.keys.Unlock()
	if err := s.write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return err
	}
	s.private[id] = key
	return nil
}

// PrivateKey returns the key kept under id. The error matches fs.ErrNotExist when there is none.
func (s *Store) PrivateKey(id string) (*rsa.PrivateKey, error) {
	path, err := s.keyPath(id)
	if err != nil {
		return nil, err
	}
	s.keys.Lock()
	defer s.keys.Unlock()
	if key := s.private[id]; key != nil {
		return key, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New(path + " holds no RSA key")
	}
	s.private[id] = key
	return key, nil
}

// DropPrivateKeys forgets keys that no state names any more. Call it after the Update that let go of them; what can't
// be removed now, the next Open removes.
func (s *Store) DropPrivateKeys(ids ...string) {
	s.keys.Lock()
	defer s.keys.Unlock()
	for _, id := range ids {
		delete(s.private, id)
		if path, err := s.keyPath(id); err == nil {
			_ = os.Remove(path)
		}
	}
}

// dropOrphans removes private keys whose key version never made it into the state, or left it.
func (s *Store) dropOrphans() {
	named := map[string]bool{SigningKey: true}
	for _, vault := range s.State().Vaults {
		for _, key := range vault.Keys {
			for _, version := range key.Versions {
				named[version.ID] = true
			}
		}
	}
	files, _ := filepath.Glob(filepath.Join(s.dir, keysName, "*.pem"))
	for _, path := range files {
		if !named[strings.TrimSuffix(filepath.Base(path), ".pem")] {
			_ = os.Remove(path)
		}
	}
}
