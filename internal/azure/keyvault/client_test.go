package keyvault

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

var _ = flag.Bool("update", false, "rewrite golden files")

const version = "0123456789abcdef0123456789abcdef"

var (
	private, _ = rsa.GenerateKey(rand.Reader, 2048)
	id         = KeyID{Vault: "https://v1.vault.azure.net", Name: "sops", Version: version}
)

// fakeVault answers as a vault with one key, or with one prepared refusal.
type fakeVault struct {
	mu         sync.Mutex
	challenges int
	operations int
	refusals   []refusal // answered first, in order
	always     *refusal
	dial       error
}

type refusal struct {
	status int
	body   string
	header http.Header
}

func (v *fakeVault) Do(r *http.Request) (*http.Response, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dial != nil {
		return nil, v.dial
	}
	reply := func(status int, body string, h http.Header) (*http.Response, error) {
		if h == nil {
			h = http.Header{}
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
	if r.Header.Get("Authorization") == "" {
		v.challenges++
		return reply(401, `{"error":{"code":"Unauthorized"}}`, http.Header{"Www-Authenticate": {`Bearer authorization="https://login.microsoftonline.com/t", resource="https://vault.azure.net"`}})
	}
	v.operations++
	if len(v.refusals) > 0 {
		first := v.refusals[0]
		v.refusals = v.refusals[1:]
		return reply(first.status, first.body, first.header)
	}
	if v.always != nil {
		return reply(v.always.status, v.always.body, v.always.header)
	}
	kid := "https://" + r.URL.Host + "/keys/sops/" + version
	if r.Method == http.MethodGet {
		return reply(200, fmt.Sprintf(`{"key":{"kid":%q,"kty":"RSA","n":%q,"e":"AQAB"}}`, kid, EncodeEnc(private.N.Bytes())), nil)
	}
	var in struct{ Alg, Value string }
	raw, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(raw, &in)
	value, _ := DecodeEnc(in.Value)
	var out []byte
	var err error
	if strings.HasSuffix(r.URL.Path, "/encrypt") {
		out, err = WrapOffline(&private.PublicKey, value)
	} else {
		out, err = rsa.DecryptOAEP(sha256.New(), nil, private, value, nil)
	}
	if err != nil || in.Alg != "RSA-OAEP-256" {
		return reply(400, `{"error":{"code":"BadParameter","message":"The parameter is incorrect."}}`, nil)
	}
	return reply(200, fmt.Sprintf(`{"kid":%q,"value":%q}`, kid, EncodeEnc(out)), nil)
}

type token struct{ renewed, asked int }

func (c *token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.asked++
	return azcore.AccessToken{Token: "bearer", ExpiresOn: time.Now().Add(time.Hour)}, nil
}
func (c *token) Renew() { c.renewed++ }

func client(v *fakeVault, cred azcore.TokenCredential) *Client {
	return New(cred, Options{Client: azcore.ClientOptions{Transport: v, Retry: policy.RetryOptions{RetryDelay: time.Millisecond, MaxRetryDelay: 50 * time.Millisecond}}})
}

func TestFiftyOperationsCostOneChallenge(t *testing.T) {
	v := &fakeVault{}
	c := client(v, &token{})
	enc, err := WrapOffline(&private.PublicKey, []byte("data key"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if got, err := c.Unwrap(t.Context(), id, enc); err != nil || string(got) != "data key" {
				t.Errorf("Unwrap = %q, %v", got, err)
			}
		})
	}
	wg.Wait()
	if v.challenges != 1 || v.operations != 50 {
		t.Errorf("challenges %d, operations %d; want 1, 50", v.challenges, v.operations)
	}
}

func TestTheVaultsWrapAndTheOfflineWrapOpenAlike(t *testing.T) {
	c := client(&fakeVault{}, &token{})
	got, pub, err := c.PublicKey(t.Context(), KeyID{Vault: id.Vault, Name: id.Name})
	if err != nil || got != id || !pub.Equal(&private.PublicKey) {
		t.Fatalf("PublicKey = %v, %v", got, err)
	}
	used, online, err := c.Wrap(t.Context(), KeyID{Vault: id.Vault, Name: id.Name}, []byte("k"))
	if err != nil || used != id {
		t.Fatalf("Wrap = %v, %v", used, err)
	}
	offline, err := WrapOffline(pub, []byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	for _, enc := range [][]byte{online, offline} {
		if plain, err := c.Unwrap(t.Context(), id, enc); err != nil || string(plain) != "k" {
			t.Errorf("Unwrap = %q, %v", plain, err)
		}
	}
}

func TestThrottlingIsWaitedOut(t *testing.T) {
	slow := refusal{429, `{"error":{"code":"Throttled"}}`, http.Header{"Retry-After-Ms": {"5"}}}
	v := &fakeVault{refusals: []refusal{slow, slow}}
	if _, _, err := client(v, &token{}).PublicKey(t.Context(), id); err != nil || v.operations != 3 {
		t.Errorf("operations %d, err %v", v.operations, err)
	}
}

func TestAnUnauthorizedTokenIsRenewedOnce(t *testing.T) {
	unauthorized := refusal{401, `{"error":{"code":"Unauthorized","message":"AKV10032: Invalid issuer."}}`, nil}
	cred := &token{}
	v := &fakeVault{refusals: []refusal{unauthorized}}
	if _, _, err := client(v, cred).PublicKey(t.Context(), id); err != nil || cred.renewed != 1 {
		t.Errorf("renewed %d, err %v", cred.renewed, err)
	}
	v = &fakeVault{always: &unauthorized}
	_, _, err := client(v, cred).PublicKey(t.Context(), id)
	if !Denied(err) || v.operations != 2 {
		t.Errorf("operations %d, err %v", v.operations, err)
	}
}

func TestEveryRefusalNamesHopAndFix(t *testing.T) {
	caller := "The user, group or application 'appid=aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee;oid=99999999-bbbb-4ccc-8ddd-eeeeeeeeeeee;iss=https://sts.windows.net/t/' does not have keys decrypt permission on key vault 'v1;location=westeurope'."
	body := func(code, inner, message string) string {
		b, _ := json.Marshal(map[string]any{"error": map[string]any{"code": code, "message": message, "innererror": map[string]string{"code": inner}}})
		return string(b)
	}
	var out strings.Builder
	for _, tt := range []struct {
		name   string
		vault  *fakeVault
		code   string
		hop    fault.Hop
		denied bool
	}{
		{"policy", &fakeVault{always: &refusal{403, body("Forbidden", "ForbiddenByPolicy", caller), nil}}, "SLU-VAULT-002", fault.HopVault, true},
		{"rbac", &fakeVault{always: &refusal{403, body("Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\nCaller: appid=aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee;oid=99999999-bbbb-4ccc-8ddd-eeeeeeeeeeee"), nil}}, "SLU-VAULT-003", fault.HopVault, true},
		{"firewall", &fakeVault{always: &refusal{403, body("Forbidden", "ForbiddenByFirewall", "Client address is not authorized and caller is not a trusted service.\r\nClient address: 20.1.2.3"), nil}}, "SLU-VAULT-004", fault.HopVault, true},
		{"disabled", &fakeVault{always: &refusal{403, body("Forbidden", "KeyDisabled", "Operation decrypt is not allowed on a disabled key."), nil}}, "SLU-KEY-002", fault.HopKey, false},
		{"key_ops", &fakeVault{always: &refusal{403, body("Forbidden", "KeyOperationForbidden", "Operation decrypt is not permitted on this key."), nil}}, "SLU-KEY-003", fault.HopKey, false},
		{"not found", &fakeVault{always: &refusal{404, body("KeyNotFound", "", "A key with (name/id) sops was not found in this key vault."), nil}}, "SLU-KEY-001", fault.HopKey, false},
		{"bad ciphertext", &fakeVault{always: &refusal{400, body("BadParameter", "", "The parameter is incorrect."), nil}}, "SLU-KEY-005", fault.HopKey, false},
		{"throttled", &fakeVault{always: &refusal{429, body("Throttled", "", "Request was not processed because too many requests were received."), nil}}, "SLU-VAULT-005", fault.HopVault, false},
		{"audience", &fakeVault{always: &refusal{401, body("Unauthorized", "", "AKV10022: Invalid audience."), nil}}, "SLU-VAULT-010", fault.HopVault, true},
		{"outage", &fakeVault{always: &refusal{503, "<html>", nil}}, "SLU-VAULT-008", fault.HopVault, false},
		{"no such vault", &fakeVault{dial: &net.DNSError{Err: "no such host", Name: "v1.vault.azure.net", IsNotFound: true}}, "SLU-VAULT-009", fault.HopVault, false},
		{"refused", &fakeVault{dial: errors.New("dial tcp 10.0.0.1:443: connect: connection refused")}, "SLU-VAULT-009", fault.HopVault, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := client(tt.vault, &token{}).Unwrap(t.Context(), id, []byte("x"))
			f := fault.From(err)
			if f == nil || f.Code != tt.code || f.Hop != tt.hop || f.Why == "" || f.Fix == "" || Denied(err) != tt.denied {
				t.Fatalf("got %v (%+v), want %s", err, f, tt.code)
			}
			out.WriteString(f.Multiline() + "\n\n")
		})
	}
	testkit.Golden(t, "testdata/refusals.golden", []byte(out.String()))
}

func TestOnlyKeyVaultHostsAreCalled(t *testing.T) {
	for _, vault := range []string{
		"https://evil.example", "http://v1.vault.azure.net", "https://vault.azure.net", "https://v1.vault.azure.net.evil.example",
		"https://user@v1.vault.azure.net", "https://v1.vault.azure.net/x", "https://v1.vault.azure.net?x", "https://169.254.169.254", "", "https://evil.example/.vault.azure.net",
	} {
		v := &fakeVault{}
		_, err := client(v, &token{}).Unwrap(t.Context(), KeyID{Vault: vault, Name: "k", Version: version}, nil)
		if f := fault.From(err); f == nil || f.Code != "SLU-VAULT-001" || v.challenges+v.operations > 0 {
			t.Errorf("%s: %v after %d requests", vault, err, v.challenges+v.operations)
		}
	}
	for _, bad := range []KeyID{{Vault: id.Vault, Name: "a/../b"}, {Vault: id.Vault, Name: "k", Version: "../x"}, {Vault: id.Vault}} {
		if _, err := client(&fakeVault{}, &token{}).Unwrap(t.Context(), bad, nil); fault.From(err) == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func TestWaitingForTheChallengeEndsWithTheContext(t *testing.T) {
	c := client(&fakeVault{}, &token{})
	v, err := c.vault(id)
	if err != nil {
		t.Fatal(err)
	}
	v.prober <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Unwrap(ctx, id, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestPublicKeysAreReadFromWhatAzPrints(t *testing.T) {
	n, e := EncodeEnc(private.N.Bytes()), EncodeEnc(big.NewInt(int64(private.E)).Bytes())
	for _, raw := range []string{
		fmt.Sprintf(`{"kty":"RSA","n":%q,"e":%q}`, n, e),
		fmt.Sprintf(`{"key":{"kty":"RSA-HSM","n":%q,"e":%q}}`, base64.StdEncoding.EncodeToString(private.N.Bytes()), e),
	} {
		if pub, err := PublicKeyFromJWK([]byte(raw)); err != nil || !pub.Equal(&private.PublicKey) {
			t.Errorf("PublicKeyFromJWK(%.30s) = %v", raw, err)
		}
	}
	for _, raw := range []string{"", "{}", `{"kty":"EC"}`, `{"kty":"RSA","n":"AQAB","e":"AQAB"}`, `{"kty":"RSA","n":"!","e":"AQAB"}`} {
		if _, err := PublicKeyFromJWK([]byte(raw)); err == nil {
			t.Errorf("PublicKeyFromJWK(%q) accepted", raw)
		}
	}
}

func FuzzParseKeyID(f *testing.F) {
	f.Add("https://v1.vault.azure.net/keys/sops/" + version)
	f.Add("https://v1.vault.azure.net/keys/sops/")
	f.Add("https://v1.vault.azure.net:443/keys/sops")
	f.Add("http://v1.vault.azure.net/keys/sops")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseKeyID(s)
		if err != nil {
			return
		}
		again, err := ParseKeyID(id.String())
		if err != nil || again != id {
			t.Errorf("%q parsed to %v, again to %v, %v", s, id, again, err)
		}
	})
}
