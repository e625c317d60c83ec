package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	caValidity   = 10 * 365 * 24 * time.Hour
	leafValidity = 2 * 365 * 24 * time.Hour
	// renewBefore is how long before its end a certificate is replaced at start.
	renewBefore = 30 * 24 * time.Hour
)

// pki is the set of keys and certificates of one control plane. They are made once, under Dir, and used again
// afterwards; a leaf is made anew only if it is missing, near its end, or no longer fits (another CA, another address).
// There are two CAs so that no certificate for the API server opens etcd.
type pki struct {
	Dir string
}

// certSpec says what a leaf certificate is for. Server certificates carry addresses, client certificates a user and
// groups (CN and O, as Kubernetes reads them).
type certSpec struct {
	ca     string
	name   string
	user   string
	groups []string
	dns    []string
	ips    []net.IP
	usages []x509.ExtKeyUsage
}

const (
	clusterCA = "ca"
	etcdCA    = "etcd-ca"
)

var (
	serverAuth = x509.ExtKeyUsageServerAuth
	clientAuth = x509.ExtKeyUsageClientAuth
)

// leaves lists every certificate. bind is the address that servers listen on, serviceIP the cluster's name for the API
// server.
func leaves(bind, serviceIP net.IP) []certSpec {
	local := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, bind}
	client := []x509.ExtKeyUsage{clientAuth}
	return []certSpec{
		{ca: clusterCA, name: "apiserver", user: "kube-apiserver", ips: append(local, serviceIP),
			dns: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
				"kubernetes.default.svc.cluster.local"},
			usages: []x509.ExtKeyUsage{serverAuth}},
		{ca: clusterCA, name: "admin", user: "sluice:admin", groups: []string{"system:masters"}, usages: client},
		{ca: clusterCA, name: "controller-manager", user: "system:kube-controller-manager", usages: client},
		{ca: clusterCA, name: "scheduler", user: "system:kube-scheduler", usages: client},
		{ca: clusterCA, name: "kwok", user: kwokUser, usages: client},
		// etcd dials itself with its server certificate, hence both usages.
		{ca: etcdCA, name: "etcd", user: "etcd", ips: local, dns: []string{"localhost"},
			usages: []x509.ExtKeyUsage{serverAuth, clientAuth}},
		{ca: etcdCA, name: "apiserver-etcd-client", user: "kube-apiserver", usages: client},
	}
}

// ensurePKI makes what is missing under dir and returns the whole. Files are 0600, the folder 0700.
func ensurePKI(dir string, bind, serviceIP net.IP, now time.Time) (*pki, error) {
	p := &pki{Dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	cas := map[string]*tls.Certificate{}
	for _, name := range []string{clusterCA, etcdCA} {
		ca, err := p.ensureCA(name, now)
		if err != nil {
			return nil, err
		}
		cas[name] = ca
	}
	for _, spec := range leaves(bind, serviceIP) {
		if err := p.ensureLeaf(cas[spec.ca], spec, now); err != nil {
			return nil, err
		}
	}
	return p, p.ensureServiceAccountKey()
}

func (p *pki) cert(name string) string   { return filepath.Join(p.Dir, name+".crt") }
func (p *pki) key(name string) string    { return filepath.Join(p.Dir, name+".key") }
func (p *pki) serviceAccountKey() string { return p.key("service-account") }
func (p *pki) load(n string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(p.cert(n), p.key(n))
	if err != nil {
		return nil, err
	}
	return &pair, nil
}

func (p *pki) ensureCA(name string, now time.Time) (*tls.Certificate, error) {
	pair, err := p.load(name)
	if err == nil && now.Before(pair.Leaf.NotAfter.Add(-renewBefore)) {
		return pair, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		// A CA that can't be read is not replaced in passing: everything issued from it would stop working.
		return nil, fmt.Errorf("certificate authority %s: %w", p.cert(name), err)
	}
	return p.issue(nil, name, &x509.Certificate{
		Subject:               pkix.Name{CommonName: "sluice " + name},
		NotAfter:              now.Add(caValidity),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}, now)
}

func (p *pki) ensureLeaf(ca *tls.Certificate, spec certSpec, now time.Time) error {
	if pair, err := p.load(spec.name); err == nil && spec.fits(pair.Leaf, ca.Leaf, now) {
		return nil
	}
	_, err := p.issue(ca, spec.name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: spec.user, Organization: spec.groups},
		NotAfter:    now.Add(leafValidity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: spec.usages,
		DNSNames:    spec.dns,
		IPAddresses: spec.ips,
	}, now)
	return err
}

// fits tells whether a certificate found on disk still serves its purpose.
func (s certSpec) fits(cert, ca *x509.Certificate, now time.Time) bool {
	if !now.Before(cert.NotAfter.Add(-renewBefore)) || cert.CheckSignatureFrom(ca) != nil {
		return false
	}
	for _, ip := range s.ips {
		if cert.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return cert.Subject.CommonName == s.user
}

// issue makes a key, signs template with ca (or with itself if ca is nil) and writes both. The key goes first and each
// file replaces its predecessor in one step, so a crash leaves at worst a pair that doesn't match, which is made anew.
func (p *pki) issue(ca *tls.Certificate, name string, template *x509.Certificate, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template.NotBefore = now.Add(-time.Hour) // a clock that is a little off
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	parent, signer := template, any(key)
	if ca != nil {
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", name, err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := writePEM(p.key(name), "EC PRIVATE KEY", keyDER); err != nil {
		return nil, err
	}
	if err := writePEM(p.cert(name), "CERTIFICATE", der); err != nil {
		return nil, err
	}
	return p.load(name)
}

// ensureServiceAccountKey makes the RSA key that signs service-account tokens (RS256, as AKS's issuer does and Entra ID
// expects). It outlives everything else: with a new one, every federated token in flight would stop verifying.
func (p *pki) ensureServiceAccountKey() error {
	path := p.serviceAccountKey()
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	return writePEM(path, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
}

func writePEM(path, kind string, der []byte) error {
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// writeFile replaces path with data, mode 0600, in one step and durably.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // made with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
