package main

import (
	"crypto/x509"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	loopback = net.IPv4(127, 0, 0, 1)
	service  = net.ParseIP(serviceIP)
)

// made makes a PKI and returns it with the content of its files.
func made(t *testing.T, dir string, bind net.IP, now time.Time) (*pki, map[string]string) {
	t.Helper()
	p, err := ensurePKI(dir, bind, service, now)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return p, files
}

func changed(before, after map[string]string) []string {
	var names []string
	for name, data := range after {
		if before[name] != data {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestPKIIsUsedAgain(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	_, before := made(t, dir, loopback, now)
	_, after := made(t, dir, loopback, now.Add(24*time.Hour))
	if c := changed(before, after); len(c) != 0 {
		t.Errorf("changed: %v", c)
	}
}

func TestKeysAreReadableByTheirOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	made(t, dir, loopback, time.Now())
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnotherAddressRenewsServerCertificatesOnly(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	_, before := made(t, dir, loopback, now)
	_, after := made(t, dir, net.IPv4(127, 0, 0, 2), now)
	want := []string{"apiserver.crt", "apiserver.key", "etcd.crt", "etcd.key"}
	if c := changed(before, after); !slices.Equal(c, want) {
		t.Errorf("changed: %v, want %v", c, want)
	}
}

func TestCertificatesNearTheirEndAreRenewedTokensStayValid(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	_, before := made(t, dir, loopback, now)
	_, after := made(t, dir, loopback, now.Add(leafValidity-renewBefore))
	c := changed(before, after)
	if !slices.Contains(c, "admin.crt") {
		t.Error("admin.crt was kept")
	}
	for _, name := range []string{"ca.crt", "etcd-ca.crt", "service-account.key"} {
		if slices.Contains(c, name) {
			t.Errorf("%s changed", name)
		}
	}
}

func TestAPairLeftHalfWrittenIsMadeAnew(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	p, before := made(t, dir, loopback, now)
	if err := os.WriteFile(p.key("admin"), []byte(before["kwok.key"]), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, _ = made(t, dir, loopback, now); p == nil {
		t.Fatal("no PKI")
	}
	if _, err := p.load("admin"); err != nil {
		t.Error(err)
	}
}

func TestACAThatCannotBeReadIsNotReplaced(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	p, _ := made(t, dir, loopback, now)
	if err := os.WriteFile(p.cert(clusterCA), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := ensurePKI(dir, loopback, service, now)
	if err == nil || !strings.Contains(err.Error(), "ca.crt") {
		t.Errorf("got %v", err)
	}
}

func TestNoCertificateForTheAPIServerOpensEtcd(t *testing.T) {
	p, _ := made(t, t.TempDir(), loopback, time.Now())
	etcd, err := p.load(etcdCA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(etcd.Leaf)
	for _, spec := range leaves(loopback, service) {
		pair, err := p.load(spec.name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if opens := err == nil; opens != (spec.ca == etcdCA) {
			t.Errorf("%s opens etcd: %v", spec.name, opens)
		}
	}
}

func TestComponentsAreWhoKubernetesExpects(t *testing.T) {
	p, _ := made(t, t.TempDir(), loopback, time.Now())
	want := map[string]string{
		"controller-manager": "CN=system:kube-controller-manager",
		"scheduler":          "CN=system:kube-scheduler",
		"admin":              "CN=sluice:admin,O=system:masters",
		"kwok":               "CN=system:kwok",
	}
	for name, subject := range want {
		pair, err := p.load(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := pair.Leaf.Subject.String(); got != subject {
			t.Errorf("%s is %s, want %s", name, got, subject)
		}
	}
}
