package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// services speaks the protocols of AWS KMS and STS, Google Cloud KMS, its token services, and Vault's transit engine, as
// far as unwrapping needs them, written from their public API references. It is no real server of any of them: what
// keeps it honest is that the unmodified upstream sops library is a client of it too.
type services struct {
	*httptest.Server
	aead cipher.AEAD

	mu    sync.Mutex
	count map[string]int
	// tokens maps what a client shows (access key id, bearer token, Vault token) to the keys that it may use; "*" is all.
	tokens map[string]string
	// reply, when it is set, answers everything that is not a sign-in.
	reply func(w http.ResponseWriter, r *http.Request, sent string) bool
}

func newServices(t *testing.T) *services {
	t.Helper()
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	block, err := aes.NewCipher(secret)
	must(t, err)
	s := &services{count: map[string]int{}, tokens: map[string]string{}}
	s.aead, err = cipher.NewGCM(block)
	must(t, err)
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *services) allow(token, keys string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = keys
}

func (s *services) may(token, key string) (known, allowed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys, known := s.tokens[token]
	return known, keys == "*" || slices.Contains(strings.Fields(keys), key)
}

// spent counts requests by kind while f runs.
func (s *services) spent(f func()) map[string]int {
	s.mu.Lock()
	s.count = map[string]int{}
	s.mu.Unlock()
	f()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func (s *services) hit(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[kind]++
}

func (s *services) wrap(key string, plain []byte) []byte {
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce)
	return s.aead.Seal(nonce, nonce, plain, []byte(key))
}

func (s *services) unwrap(key string, enc []byte) ([]byte, bool) {
	if len(enc) < s.aead.NonceSize() {
		return nil, false
	}
	plain, err := s.aead.Open(nil, enc[:s.aead.NonceSize()], enc[s.aead.NonceSize():], []byte(key))
	return plain, err == nil
}

var (
	awsCredential = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/(kms|sts)/aws4_request`)
	googleKey     = regexp.MustCompile(`^/v1/(projects/.+/cryptoKeys/[^/:]+):(encrypt|decrypt)$`)
	vaultKey      = regexp.MustCompile(`^/v1/(.+)/(encrypt|decrypt)/([^/]+)$`)
)

func (s *services) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/" && r.Header.Get("X-Amz-Target") == "":
		s.serveSTS(w, r)
	case r.URL.Path == "/v1/token" || strings.HasSuffix(r.URL.Path, ":generateAccessToken"):
		s.serveGoogleTokens(w, r)
	case r.URL.Path == "/":
		s.serveAWS(w, r)
	case googleKey.MatchString(r.URL.Path):
		s.serveGoogle(w, r)
	case vaultKey.MatchString(r.URL.Path):
		s.serveVault(w, r)
	default:
		http.NotFound(w, r)
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (s *services) serveAWS(w http.ResponseWriter, r *http.Request) {
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	s.hit("aws/" + op)
	var in struct {
		KeyId                     string
		CiphertextBlob, Plaintext []byte
		EncryptionContext         map[string]string
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	m := awsCredential.FindStringSubmatch(r.Header.Get("Authorization"))
	if s.reply != nil && s.reply(w, r, base64.StdEncoding.EncodeToString(in.CiphertextBlob)) {
		return
	}
	fail := func(code string) {
		answer(w, 400, map[string]string{"__type": code, "message": "no " + string(in.Plaintext)})
	}
	if m == nil {
		fail("MissingAuthenticationTokenException")
		return
	}
	known, allowed := s.may(m[1], in.KeyId)
	bound := in.KeyId + fmt.Sprint(in.EncryptionContext)
	if len(in.EncryptionContext) == 0 {
		bound = in.KeyId
	}
	switch {
	case !known:
		fail("UnrecognizedClientException")
	case !allowed:
		fail("AccessDeniedException")
	case op == "Encrypt":
		answer(w, 200, map[string]any{"KeyId": in.KeyId, "CiphertextBlob": s.wrap(bound, in.Plaintext)})
	default:
		plain, ok := s.unwrap(bound, in.CiphertextBlob)
		if !ok {
			fail("InvalidCiphertextException")
			return
		}
		answer(w, 200, map[string]any{"KeyId": in.KeyId, "Plaintext": plain, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"})
	}
}

// serveSTS gives a session whose access key id is made of the role.
func (s *services) serveSTS(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	action := r.Form.Get("Action")
	s.hit("sts/" + action)
	w.Header().Set("Content-Type", "text/xml")
	who := r.Form.Get("WebIdentityToken")
	if m := awsCredential.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
		who = m[1]
	}
	if _, allowed := s.may(who, r.Form.Get("RoleArn")); !allowed {
		w.WriteHeader(403)
		fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>%s</Message></Error></ErrorResponse>`, who)
		return
	}
	fmt.Fprintf(w, `<%[1]sResponse><%[1]sResult><Credentials><AccessKeyId>%[2]s</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></%[1]sResult></%[1]sResponse>`,
		action, "ASIA"+r.Form.Get("RoleArn")[strings.LastIndex(r.Form.Get("RoleArn"), "/")+1:])
}

func (s *services) serveGoogleTokens(w http.ResponseWriter, r *http.Request) {
	if email, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/v1/projects/-/serviceAccounts/"), ":generateAccessToken"); ok {
		s.hit("google/impersonate")
		if _, allowed := s.may(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), email); !allowed {
			answer(w, 403, map[string]any{"error": map[string]any{"status": "PERMISSION_DENIED"}})
			return
		}
		answer(w, 200, map[string]any{"accessToken": "as " + email, "expireTime": "2099-01-01T00:00:00Z"})
		return
	}
	s.hit("google/token")
	_ = r.ParseForm()
	subject := r.Form.Get("subject_token")
	if subject == "" { // a service account's own assertion
		answer(w, 200, map[string]any{"access_token": "google-sa", "token_type": "Bearer", "expires_in": 3600})
		return
	}
	if _, allowed := s.may(subject, r.Form.Get("audience")); !allowed {
		answer(w, 400, map[string]any{"error": "invalid_grant", "error_description": subject})
		return
	}
	answer(w, 200, map[string]any{"access_token": "federated " + subject, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600})
}

func (s *services) serveGoogle(w http.ResponseWriter, r *http.Request) {
	m := googleKey.FindStringSubmatch(r.URL.Path)
	s.hit("google/" + m[2])
	var in struct{ Ciphertext, Plaintext []byte }
	_ = json.NewDecoder(r.Body).Decode(&in)
	if s.reply != nil && s.reply(w, r, base64.StdEncoding.EncodeToString(in.Ciphertext)) {
		return
	}
	fail := func(status int, code string) {
		answer(w, status, map[string]any{"error": map[string]any{"code": status, "status": code, "message": string(in.Plaintext)}})
	}
	known, allowed := s.may(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), m[1])
	switch {
	case !known:
		fail(401, "UNAUTHENTICATED")
	case !allowed:
		fail(403, "PERMISSION_DENIED")
	case m[2] == "encrypt":
		answer(w, 200, map[string]any{"name": m[1] + "/cryptoKeyVersions/1", "ciphertext": s.wrap(m[1], in.Plaintext)})
	default:
		plain, ok := s.unwrap(m[1], in.Ciphertext)
		if !ok {
			fail(400, "INVALID_ARGUMENT")
			return
		}
		answer(w, 200, map[string]any{"plaintext": plain})
	}
}

func (s *services) serveVault(w http.ResponseWriter, r *http.Request) {
	m := vaultKey.FindStringSubmatch(r.URL.Path)
	s.hit("vault/" + m[2])
	var in struct{ Ciphertext, Plaintext string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	if s.reply != nil && s.reply(w, r, in.Ciphertext) {
		return
	}
	fail := func(status int, text string) { answer(w, status, map[string]any{"errors": []string{text}}) }
	known, allowed := s.may(r.Header.Get("X-Vault-Token"), m[1]+"/"+m[3])
	switch {
	case !known:
		fail(403, "permission denied")
	case !allowed:
		fail(403, "1 error occurred:\n\t* permission denied\n\n")
	case m[2] == "encrypt":
		plain, _ := base64.StdEncoding.DecodeString(in.Plaintext)
		answer(w, 200, map[string]any{"data": map[string]any{"ciphertext": "vault:v1:" + base64.StdEncoding.EncodeToString(s.wrap(m[3], plain)), "key_version": 1}})
	default:
		enc, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(in.Ciphertext, "vault:v1:"))
		plain, ok := s.unwrap(m[3], enc)
		if err != nil || !ok {
			fail(400, "cipher: message authentication failed")
			return
		}
		answer(w, 200, map[string]any{"data": map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plain)}})
	}
}
