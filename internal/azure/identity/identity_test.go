package identity

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sort"
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

const (
	tenant = "11111111-2222-4333-8444-555555555555"
	client = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"

	exchangeAudience = "api://AzureADTokenExchange"
)

// entra answers discovery and the token endpoint without a network.
type entra struct {
	mu        sync.Mutex
	code      int // AADSTS code to refuse with; 0: grant
	status    int // when not 0, answered with an empty body
	transport error
	exchanges int
	assertion string
}

func (e *entra) Do(r *http.Request) (*http.Response, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.transport != nil {
		return nil, e.transport
	}
	reply := func(status int, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(bytes.NewBufferString(body)), Request: r}, nil
	}
	base := "https://login.microsoftonline.com/" + tenant
	switch {
	case strings.Contains(r.URL.Path, "discovery/instance"):
		return reply(200, `{"tenant_discovery_endpoint":"`+base+`/v2.0/.well-known/openid-configuration","api-version":"1.1","metadata":[{"preferred_network":"login.microsoftonline.com","preferred_cache":"login.windows.net","aliases":["login.microsoftonline.com","login.windows.net"]}]}`)
	case strings.Contains(r.URL.Path, "openid-configuration"):
		return reply(200, `{"authorization_endpoint":"`+base+`/oauth2/v2.0/authorize","token_endpoint":"`+base+`/oauth2/v2.0/token","issuer":"`+base+`/v2.0"}`)
	}
	e.exchanges++
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	e.assertion = form.Get("client_assertion")
	if e.status != 0 {
		return reply(e.status, "")
	}
	if e.code != 0 {
		return reply(401, fmt.Sprintf(`{"error":"invalid_client","error_description":"AADSTS%d: What Entra says. Trace ID: 1234 Correlation ID: 5678 Timestamp: 2026-01-01","error_codes":[%d],"trace_id":"1234"}`, e.code, e.code))
	}
	return reply(200, `{"token_type":"Bearer","expires_in":86399,"ext_expires_in":86399,"access_token":"granted"}`)
}

func jwt(claims map[string]any) string {
	b, _ := json.Marshal(claims)
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"RS256","kid":"k1"}`)) + "." + enc(b) + "." + enc([]byte("SECRETSIGNATURE"))
}

func saToken() string {
	return jwt(map[string]any{
		"iss": "https://westeurope.oic.prod-aks.azure.com/t/u/", "sub": "system:serviceaccount:flux-system:kustomize-controller",
		"aud": []string{"api://AzureADTokenExchange"}, "exp": 1893456000,
	})
}

func newWorkload(t *testing.T, e *entra, clock func() time.Time) (*Workload, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(saToken()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := New(Config{ClientID: client, TenantID: tenant, Assertion: FromFile(file), TokenFile: file, Clock: clock,
		Client: azcore.ClientOptions{Transport: e, Retry: policy.RetryOptions{RetryDelay: time.Millisecond}}})
	if err != nil {
		t.Fatal(err)
	}
	return w, file
}

var vaultScope = policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}, EnableCAE: true}

func TestManyCallersShareOneExchange(t *testing.T) {
	e := &entra{}
	w, _ := newWorkload(t, e, nil)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if tok, err := w.GetToken(t.Context(), vaultScope); err != nil || tok.Token != "granted" {
				t.Errorf("GetToken = %q, %v", tok.Token, err)
			}
		})
	}
	wg.Wait()
	if e.exchanges != 1 {
		t.Errorf("exchanges = %d, want 1", e.exchanges)
	}
	if e.assertion != saToken() {
		t.Error("the assertion was not sent as the token without its trailing newline")
	}
	w.Renew()
	if _, err := w.GetToken(t.Context(), vaultScope); err != nil || e.exchanges != 2 {
		t.Errorf("after Renew: exchanges = %d, err %v, want a second exchange", e.exchanges, err)
	}
}

func TestARefusalAnswersForThreeSeconds(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	e := &entra{code: 700213}
	w, _ := newWorkload(t, e, func() time.Time { return now })
	for range 20 {
		if _, err := w.GetToken(t.Context(), vaultScope); err == nil {
			t.Fatal("refused exchange gave a token")
		}
	}
	if e.exchanges != 1 {
		t.Errorf("exchanges = %d, want 1", e.exchanges)
	}
	e.code = 0
	now = now.Add(negativeTTL)
	if _, err := w.GetToken(t.Context(), vaultScope); err != nil {
		t.Errorf("mended credential still refused: %v", err)
	}
}

func TestEveryRefusalNamesCauseAndFix(t *testing.T) {
	codes := make([]int, 0, len(refusals)+1)
	for code := range refusals {
		codes = append(codes, code)
	}
	codes = append(codes, 999999)
	sort.Ints(codes)
	var out strings.Builder
	seen := map[string]int{}
	for _, code := range codes {
		w, _ := newWorkload(t, &entra{code: code}, func() time.Time { return time.Unix(1_800_000_000, 0) })
		_, err := w.GetToken(t.Context(), vaultScope)
		f := fault.From(err)
		if f == nil || f.Hop != fault.HopEntra || f.Why == "" || f.Fix == "" {
			t.Fatalf("AADSTS%d: fault %+v", code, f)
		}
		if other, dup := seen[f.Code]; dup {
			t.Errorf("AADSTS%d and %d share %s", code, other, f.Code)
		}
		seen[f.Code] = code
		var r *Refused
		if !errors.As(err, &r) || r.Code != code {
			t.Errorf("AADSTS%d: Refused = %+v", code, r)
		}
		noToken(t, err)
		out.WriteString(f.Multiline() + "\n\n")
	}
	testkit.Golden(t, "testdata/refusals.golden", []byte(out.String()))
}

func TestFaultsBesideRefusals(t *testing.T) {
	for _, tt := range []struct {
		name  string
		entra *entra
		opts  policy.TokenRequestOptions
		token string
		want  string
		hop   fault.Hop
	}{
		{"unknown host", &entra{transport: errors.New("dial tcp: lookup login.microsoftonline.com: no such host")}, vaultScope, saToken(), "SLU-ENTRA-032", fault.HopEntra},
		{"refused connection", &entra{transport: errors.New("dial tcp 127.0.0.1:1: connect: connection refused")}, vaultScope, saToken(), "SLU-ENTRA-032", fault.HopEntra},
		{"untrusted CA", &entra{transport: errors.New("tls: failed to verify certificate: x509: certificate signed by unknown authority")}, vaultScope, saToken(), "SLU-ENTRA-032", fault.HopEntra},
		{"outage", &entra{status: 503}, vaultScope, saToken(), "SLU-ENTRA-031", fault.HopEntra},
		{"other tenant's vault", &entra{}, policy.TokenRequestOptions{Scopes: vaultScope.Scopes, TenantID: "99999999-2222-4333-8444-555555555555"}, saToken(), "SLU-ENTRA-030", fault.HopEntra},
		{"empty token file", &entra{}, vaultScope, "", "SLU-IDENTITY-004", fault.HopIdentity},
		{"token file is no JWT", &entra{}, vaultScope, "hello.SECRETSIGNATURE", "SLU-IDENTITY-004", fault.HopIdentity},
		{"no token file", &entra{}, vaultScope, "absent", "SLU-IDENTITY-003", fault.HopIdentity},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, file := newWorkload(t, tt.entra, nil)
			if tt.token == "absent" {
				os.Remove(file)
			} else if err := os.WriteFile(file, []byte(tt.token), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := w.GetToken(t.Context(), tt.opts)
			f := fault.From(err)
			if f == nil || f.Code != tt.want || f.Hop != tt.hop || f.Why == "" || f.Fix == "" {
				t.Fatalf("got %v (%+v), want %s", err, f, tt.want)
			}
			noToken(t, err)
		})
	}
}

func TestNoFaultOfATenantsAccountSpeaksOfADeploymentOrTheControllersAccount(t *testing.T) {
	token := jwt(map[string]any{"iss": "https://issuer/", "sub": "system:serviceaccount:apps:tenant", "aud": exchangeAudience, "exp": 1893456000})
	other := policy.TokenRequestOptions{Scopes: vaultScope.Scopes, TenantID: "99999999-2222-4333-8444-555555555555"}
	refused := func(code int) *entra { return &entra{code: code} }
	for _, tt := range []struct {
		name, tenant string
		entra        *entra
		opts         policy.TokenRequestOptions
		token        string
		err          error
		want         []string
	}{
		{"malformed signature", tenant, refused(50027), vaultScope, token, nil, []string{"kubectl get --raw /openid/v1/jwks; curl -sS https://issuer/openid/v1/jwks"}},
		{"unpublished key", tenant, refused(7000272), vaultScope, token, nil, []string{"kubectl get --raw /openid/v1/jwks"}},
		{"out of its time", tenant, refused(700024), vaultScope, token, nil, []string{"clock", "kubectl create token -n apps tenant --audience " + exchangeAudience}},
		{"no credential", tenant, refused(700213), vaultScope, token, nil, []string{"-n apps-tenant", "--subject system:serviceaccount:apps:tenant"}},
		{"unknown client", tenant, refused(700016), vaultScope, token, nil, []string{"kubectl annotate serviceaccount -n apps tenant"}},
		{"other tenant's vault", tenant, &entra{}, other, token, nil, []string{"kubectl annotate serviceaccount -n apps tenant"}},
		{"forbidden", tenant, &entra{}, vaultScope, "", errors.New("is forbidden"), []string{"apps/tenant", "kubectl auth can-i create serviceaccounts/token -n apps"}},
		{"no JWT", tenant, &entra{}, vaultScope, "hello", nil, []string{"apps/tenant", "kubectl create token -n apps tenant"}},
		{"malformed tenant", "a b", nil, vaultScope, "", nil, []string{"kubectl annotate serviceaccount -n apps tenant"}},
	} {
		w, err := New(Config{ClientID: client, TenantID: tt.tenant, Account: Account{"apps", "tenant"},
			Assertion: func(context.Context) (string, error) { return tt.token, tt.err },
			Clock:     func() time.Time { return time.Unix(1_800_000_000, 0) },
			Client:    azcore.ClientOptions{Transport: tt.entra, Retry: policy.RetryOptions{RetryDelay: time.Millisecond}}})
		if err == nil {
			_, err = w.GetToken(t.Context(), tt.opts)
		}
		f := fault.From(err)
		if f == nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		text := f.Multiline()
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", tt.name, want, text)
			}
		}
		for _, wrong := range []string{"deployment/", "serviceaccount -n flux-system", "the pod", "kubelet"} {
			if strings.Contains(text, wrong) {
				t.Errorf("%s says %q:\n%s", tt.name, wrong, text)
			}
		}
	}
}

func TestTheTenantOfTheChallengeMayDifferInCaseOrForm(t *testing.T) {
	for _, tt := range []struct{ own, asked, want string }{
		{"abc-d", "ABC-D", "abc-d"},
		{"contoso.onmicrosoft.com", "abc-d", "contoso.onmicrosoft.com"},
		{"abc-d", "abc-e", "abc-e"},
		{"abc-d", "", ""},
	} {
		if got := alignTenant(tt.own, tt.asked); got != tt.want {
			t.Errorf("alignTenant(%q, %q) = %q, want %q", tt.own, tt.asked, got, tt.want)
		}
	}
}

func TestAPodWithoutTheLabelIsToldSo(t *testing.T) {
	_, err := fromEnvironment(func(string) string { return "" }, azcore.ClientOptions{})
	f := fault.From(err)
	if f == nil || f.Code != "SLU-IDENTITY-001" || !strings.Contains(f.Seen, "AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE are not set") {
		t.Fatalf("got %v", err)
	}
	testkit.Golden(t, "testdata/noidentity.golden", []byte(f.Multiline()+"\n"))

	env := map[string]string{envClientID: client, envTenantID: tenant, envTokenFile: "/t", envAuthority: "http://login.test/"}
	if _, err = fromEnvironment(func(k string) string { return env[k] }, azcore.ClientOptions{}); fault.From(err) == nil || fault.From(err).Code != "SLU-IDENTITY-002" {
		t.Errorf("authority without TLS: %v", err)
	}
}

func TestAWaitingCallerLeavesWithItsContext(t *testing.T) {
	w, _ := newWorkload(t, &entra{}, nil)
	w.turn <- struct{}{} // somebody else's exchange
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.GetToken(ctx, vaultScope); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want canceled", err)
	}
}

func TestAServicePrincipalsFaultNamesTheSecretsCure(t *testing.T) {
	e := &entra{code: 7000215}
	cred, err := ForServicePrincipal(tenant, client, "hunter2-SECRETSIGNATURE", e)
	if err != nil {
		t.Fatal(err)
	}
	_, err = cred.GetToken(t.Context(), vaultScope)
	if f := fault.From(err); f == nil || f.Fix != "az ad app credential reset --id "+client {
		t.Errorf("got %v", err)
	}
	noToken(t, err)
	e.code = 0
	if tok, err := cred.GetToken(t.Context(), vaultScope); err != nil || tok.Token != "granted" {
		t.Errorf("GetToken = %v", err)
	}
}

func noToken(t *testing.T, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		if s := fmt.Sprintf("%v %+v", e, e.Error()); strings.Contains(s, "SECRETSIGNATURE") || strings.Contains(s, strings.Split(saToken(), ".")[1]) {
			t.Errorf("the token is in the error: %s", s)
		}
	}
}

func FuzzParseClaims(f *testing.F) {
	f.Add(saToken())
	f.Add("..")
	f.Add("a.e30.b")
	f.Add(jwt(map[string]any{"aud": "one", "exp": 1e300}))
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := ParseClaims(token); err != nil && !errors.Is(err, errNotJWT) {
			t.Errorf("unexpected error %v", err)
		}
	})
}
