package proxy

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/fault"
)

const (
	caYears     = 20
	leafDays    = 90
	leafRenewal = 30 * 24 * time.Hour
	startSkew   = 24 * time.Hour // so that a client whose clock is behind accepts a fresh certificate
)

// Authority is the emulator's own certificate authority. Its certificate permits the emulated domains and no other, so
// that trusting it, or losing its key, opens nothing else. It follows the machine's clock, as TLS clients do.
type Authority struct {
	path   string
	cert   *x509.Certificate
	signer crypto.Signer
	leaf   *ecdsa.PrivateKey // of all leaves of this process

	mu     sync.Mutex
	leaves map[string]*tls.Certificate // by host
}

// OpenAuthority loads the authority kept in dir, or makes one that is good for domains and what lies under them.
// The certificate alone is in ca.pem; certificate and key together, in one file so that neither is ever without the
// other, in ca-key.pem.
func OpenAuthority(dir string, domains []string) (*Authority, error) {
	a := &Authority{path: filepath.Join(dir, "ca.pem"), leaves: map[string]*tls.Certificate{}}
	private := filepath.Join(dir, "ca-key.pem")
	data, err := os.ReadFile(private)
	if errors.Is(err, fs.ErrNotExist) {
		if data, err = newAuthority(domains); err == nil {
			err = store.WriteFile(private, data)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the emulator's certificate authority: %w", err)
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, &fault.Fault{
			Code: "SLU-PLATFORM-105", Hop: fault.HopPlatform, Object: private, Err: err,
			Seen: "the file does not hold the emulator's certificate and key", Why: "it was changed or damaged by something else",
			Fix: "remove it; a new authority is made at the next start, and shells must run eval \"$(sluice env)\" again",
		}
	}
	a.cert = pair.Leaf
	a.signer = pair.PrivateKey.(crypto.Signer)
	if a.leaf, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	return a, a.publish()
}

// publish makes ca.pem say what ca-key.pem says, if it doesn't yet.
func (a *Authority) publish() error {
	want := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	if have, err := os.ReadFile(a.path); err == nil && bytes.Equal(have, want) {
		return nil
	}
	if err := store.WriteFile(a.path, want); err != nil {
		return fmt.Errorf("publish the emulator's certificate authority: %w", err)
	}
	return nil
}

// File is the path of the authority's certificate in PEM.
func (a *Authority) File() string { return a.path }

func newAuthority(domains []string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Sluice local Azure " + serial.Text(16)[:8], Organization: []string{"Sluice emulator, this machine only"}},
		NotBefore:    now.Add(-startSkew), NotAfter: now.AddDate(caYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		PermittedDNSDomains:         domains,
		PermittedDNSDomainsCritical: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...), nil
}

// Certificate returns a certificate for host, minted at the first use and renewed before it ends.
func (a *Authority) Certificate(host string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if leaf := a.leaves[host]; leaf != nil && time.Until(leaf.Leaf.NotAfter) > leafRenewal {
		return leaf, nil
	}
	leaf, err := a.mint(host)
	if err != nil {
		return nil, err
	}
	a.leaves[host] = leaf
	return leaf, nil
}

func (a *Authority) mint(host string) (*tls.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		DNSNames:     []string{host}, // no common name: some verifiers would hold it against the name constraints
		NotBefore:    now.Add(-startSkew), NotAfter: now.AddDate(0, 0, leafDays),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.leaf.Public(), a.signer)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leaf, Leaf: parsed}, nil
}

func newSerial() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 126)
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, err
	}
	return n.Add(n, limit), nil // always the same length, never zero
}
