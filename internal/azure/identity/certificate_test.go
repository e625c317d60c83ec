package identity

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// assertedEntra answers as Entra ID does to a client assertion, and gives a token only for one that the key has signed.
type assertedEntra struct {
	t      *testing.T
	key    *rsa.PublicKey
	header map[string]any
}

// Do implements policy.Transporter.
func (e *assertedEntra) Do(r *http.Request) (*http.Response, error) {
	base := "https://" + r.URL.Host + "/tenant"
	answer := func(status int, body any) (*http.Response, error) {
		text, _ := json.Marshal(body)
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(text)), Request: r}, nil
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/discovery/instance"):
		return answer(200, map[string]any{"tenant_discovery_endpoint": base + "/v2.0/.well-known/openid-configuration",
			"metadata": []any{map[string]any{"preferred_network": r.URL.Host, "preferred_cache": r.URL.Host, "aliases": []string{r.URL.Host}}}})
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		return answer(200, map[string]any{"token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "issuer": base + "/v2.0"})
	}
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	if !e.signed(form.Get("client_assertion")) || form.Get("client_id") != "app" || form.Get("grant_type") != "client_credentials" {
		return answer(401, map[string]any{"error": "invalid_client", "error_description": "AADSTS700027: the assertion is not signed by a key of the application"})
	}
	return answer(200, map[string]any{"access_token": "issued", "expires_in": 3600, "token_type": "Bearer"})
}

func (e *assertedEntra) signed(assertion string) bool {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return false
	}
	raw, _ := base64.RawURLEncoding.DecodeString(parts[0])
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	if json.Unmarshal(raw, &e.header) != nil {
		return false
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if e.header["alg"] == "PS256" {
		return rsa.VerifyPSS(e.key, crypto.SHA256, digest[:], signature, nil) == nil
	}
	return rsa.VerifyPKCS1v15(e.key, crypto.SHA256, digest[:], signature) == nil
}

func TestAServicePrincipalSignsInWithItsCertificate(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sluice"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		chain bool
		known *rsa.PublicKey
		want  string // in the error; empty: a token
	}{"its certificate": {false, &key.PublicKey, ""}, "with its chain": {true, &key.PublicKey, ""}, "another's": {false, &other.PublicKey, "AADSTS700027"}} {
		entra := &assertedEntra{t: t, key: tt.known}
		cred, err := NewCertificatePrincipal(CertificatePrincipal{Tenant: "tenant", Client: "app", Certificate: both, SendChain: tt.chain}, azcore.ClientOptions{Transport: entra})
		if err != nil {
			t.Fatal(err)
		}
		token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
		if tt.want == "" && (err != nil || token.Token != "issued") || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %q, %v", name, token.Token, err)
		}
		if _, shown := entra.header["x5c"]; shown != tt.chain {
			t.Errorf("%s: the chain was shown: %v", name, shown)
		}
	}
	for _, text := range []string{"CANARY", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), strings.Replace(string(both), "M", "CANARY", 3)} {
		_, err := NewCertificatePrincipal(CertificatePrincipal{Tenant: "tenant", Client: "app", Certificate: []byte(text), Password: []byte("CANARY")}, azcore.ClientOptions{})
		if err == nil || strings.Contains(err.Error(), "CANARY") || !strings.Contains(err.Error(), "clientCertificate") {
			t.Errorf("not a certificate: %v", err)
		}
	}
}
