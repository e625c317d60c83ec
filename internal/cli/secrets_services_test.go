package cli

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

// keyServices answer encrypt and decrypt as AWS KMS, Google Cloud KMS and Vault's transit engine do, written from their
// public API references: no real server of any of them, and no check of who asks. Both commands are clients of it by
// their own environment variables alone, which is what keeps it honest.
type keyServices struct {
	url   string
	aead  cipher.AEAD
	env   []string
	asked atomic.Int64
	// refuse, when it is set, answers instead.
	refuse func(w http.ResponseWriter, r *http.Request)
}

const (
	awsKeyARN   = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
	googleKeyID = "projects/p/locations/global/keyRings/r/cryptoKeys/k"
)

func newKeyServices(t *testing.T) *keyServices {
	t.Helper()
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	block, err := aes.NewCipher(secret)
	if err != nil {
		t.Fatal(err)
	}
	s := &keyServices{}
	if s.aead, err = cipher.NewGCM(block); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	s.env = []string{
		"NO_PROXY=127.0.0.1",
		"AWS_ENDPOINT_URL=" + s.url, "AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_REGION=eu-west-1", "AWS_EC2_METADATA_DISABLED=true",
		"SOPS_GCP_KMS_ENDPOINT=" + s.url, "SOPS_GCP_KMS_CLIENT_TYPE=rest", "GOOGLE_OAUTH_ACCESS_TOKEN=token",
		"VAULT_TOKEN=token", "SOPS_HC_VAULT_ALLOWLIST=all",
	}
	return s
}

func (s *keyServices) vaultURI() string { return s.url + "/v1/transit/keys/sops" }

func (s *keyServices) wrap(key string, plain []byte) []byte {
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce)
	return s.aead.Seal(nonce, nonce, plain, []byte(key))
}

func (s *keyServices) unwrap(key string, enc []byte) ([]byte, error) {
	n := min(len(enc), s.aead.NonceSize())
	return s.aead.Open(nil, append(enc[:n:n], make([]byte, s.aead.NonceSize()-n)...), enc[n:], []byte(key))
}

var (
	googleCall = regexp.MustCompile(`^/v1/(projects/.+/cryptoKeys/[^/:]+):(encrypt|decrypt)$`)
	vaultCall  = regexp.MustCompile(`^/v1/transit/(encrypt|decrypt)/([^/]+)$`)
)

// ServeHTTP tells the services apart by their paths.
func (s *keyServices) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	if s.refuse != nil {
		s.refuse(w, r)
		return
	}
	var in struct {
		KeyId, Plaintext, CiphertextBlob, Ciphertext string // the fields of all three
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	bytes := func(text string) []byte {
		raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "vault:v1:"))
		return raw
	}
	answer := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	op, key := "", ""
	var form func([]byte) any
	switch google, vault := googleCall.FindStringSubmatch(r.URL.Path), vaultCall.FindStringSubmatch(r.URL.Path); {
	case google != nil && r.Header.Get("Authorization") == "Bearer token":
		op, key = google[2], google[1]
		form = func(b []byte) any {
			if op == "encrypt" {
				return map[string]any{"name": key + "/cryptoKeyVersions/1", "ciphertext": b}
			}
			return map[string]any{"plaintext": b}
		}
	case vault != nil && r.Header.Get("X-Vault-Token") == "token":
		op, key = vault[1], vault[2]
		form = func(b []byte) any {
			if op == "encrypt" {
				return map[string]any{"data": map[string]any{"ciphertext": "vault:v1:" + base64.StdEncoding.EncodeToString(b)}}
			}
			return map[string]any{"data": map[string]any{"plaintext": b}}
		}
	case strings.HasPrefix(r.Header.Get("X-Amz-Target"), "TrentService.") && strings.Contains(r.Header.Get("Authorization"), "Credential=AKIAEXAMPLE/"):
		op, key = strings.ToLower(strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")), in.KeyId
		form = func(b []byte) any {
			if op == "encrypt" {
				return map[string]any{"KeyId": key, "CiphertextBlob": b}
			}
			return map[string]any{"KeyId": key, "Plaintext": b}
		}
	default:
		answer(http.StatusForbidden, map[string]any{"errors": []string{"permission denied"}})
		return
	}
	if op == "encrypt" {
		answer(http.StatusOK, form(s.wrap(key, bytes(in.Plaintext))))
		return
	}
	plain, err := s.unwrap(key, bytes(in.Ciphertext+in.CiphertextBlob))
	if err != nil {
		answer(http.StatusBadRequest, map[string]any{"__type": "InvalidCiphertextException"})
		return
	}
	answer(http.StatusOK, form(plain))
}
