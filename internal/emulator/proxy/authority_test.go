package proxy

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
)

func authority(t *testing.T, dir string) *Authority {
	t.Helper()
	a, err := OpenAuthority(dir, []string{"vault.azure.net", "login.microsoftonline.com"})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAuthorityIsGoodForItsDomainsOnly(t *testing.T) {
	a := authority(t, t.TempDir())
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	for host, want := range map[string]bool{
		"sample.vault.azure.net": true, "login.microsoftonline.com": true,
		"github.com": false, "vault.azure.net.example": false, "evilvault.azure.net": false, "10.0.0.1": false,
	} {
		leaf, err := a.Certificate(host)
		if err != nil {
			t.Fatal(err)
		}
		_, err = leaf.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots})
		if (err == nil) != want {
			t.Errorf("%s: %v, want accepted %v", host, err, want)
		}
	}
	if !a.cert.PermittedDNSDomainsCritical {
		t.Error("the constraint is not critical")
	}
}

func TestAuthorityOutlivesAReopen(t *testing.T) {
	dir := t.TempDir()
	first := authority(t, dir)
	if err := os.Remove(first.File()); err != nil { // as after a crash between the two files
		t.Fatal(err)
	}
	second := authority(t, dir)
	if !first.cert.Equal(second.cert) {
		t.Error("the certificate changed")
	}
	info, err := os.Stat(filepath.Join(dir, "ca-key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ca-key.pem: %v, %v", info, err)
	}
	if _, err := os.Stat(second.File()); err != nil {
		t.Error(err)
	}
}

func TestDamagedAuthorityIsAFault(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca-key.pem"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenAuthority(dir, nil)
	if f := fault.From(err); f == nil || f.Code != "SLU-PLATFORM-105" {
		t.Errorf("got %v", err)
	}
}
