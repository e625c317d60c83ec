package keyring

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
)

// The entry as Flux documents it; that the credential signs in is identity's to prove.
func TestASecretsClientCertificateIsTheIdentity(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	entry := "tenantId: 11111111-2222-3333-4444-555555555555\nclientId: app\nclientCertificateSendChain: true\nclientCertificate: |\n    " +
		strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
	id, err := FromSecret("ns/keys", map[string][]byte{entryAzureKV: []byte(entry)})
	if err != nil || id.Azure == nil {
		t.Fatalf("%v, %v", id.Azure, err)
	}
	broken := strings.Replace(entry, "-----BEGIN RSA PRIVATE KEY-----", "", 1)
	if _, err := FromSecret("ns/keys", map[string][]byte{entryAzureKV: []byte(broken)}); err == nil || !strings.Contains(err.Error(), "clientCertificate") || strings.Contains(err.Error(), "MII") {
		t.Errorf("a certificate without its key: %v", err)
	}
}
