package emulator_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluice-gitops/sluice/internal/emulator"
)

func claim(name string, value any) func(*jwt.Token) {
	return func(t *jwt.Token) { t.Claims.(jwt.MapClaims)[name] = value }
}

func TestEntraRefusesWithTheCodeOfTheFirstBrokenCheck(t *testing.T) {
	a, clientID := onboarded(t, emulator.Options{})
	bare := dig(a.mustARM("PUT", group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/bare", object{"location": "westeurope"}), "properties", "clientId").(string)
	federated := form{
		"grant_type": "client_credentials", "scope": "https://vault.azure.net/.default openid offline_access profile", "client_id": clientID,
		"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
	}
	assert := func(change func(*jwt.Token)) form { return federated.with("client_assertion", a.assertion(change)) }
	good, developer := assert(nil), a.developerForm("https://vault.azure.net")
	forged := a.assertion(nil)
	forged = forged[:len(forged)-8] + strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, forged[len(forged)-8:])
	long := time.Now().Add(-time.Hour)

	for name, tt := range map[string]struct {
		url    string
		form   form
		status int
		oauth  string
		code   float64
		says   string
	}{
		"good":                        {form: good, status: 200},
		"secret":                      {form: developer, status: 200},
		"client id in upper case":     {form: good.with("client_id", strings.ToUpper(clientID)), status: 200},
		"v1 endpoint":                 {url: strings.Replace(a.tokenURL(), "/v2.0", "", 1), form: developer.with("resource", "https://vault.azure.net"), status: 200},
		"tenant":                      {url: "https://login.microsoftonline.com/other/oauth2/v2.0/token", form: good, status: 400, oauth: "invalid_tenant", code: 90002, says: "other"},
		"tenant of the metadata":      {url: "https://login.microsoftonline.com/other/v2.0/.well-known/openid-configuration", status: 400, oauth: "invalid_tenant", code: 90002},
		"no grant":                    {form: good.with("grant_type", ""), status: 400, oauth: "invalid_request", code: 900144},
		"grant":                       {form: good.with("grant_type", "password"), status: 400, oauth: "unsupported_grant_type", code: 70003},
		"no client":                   {form: good.with("client_id", ""), status: 400, oauth: "invalid_request", code: 900144},
		"client":                      {form: good.with("client_id", "11111111-2222-3333-4444-555555555555"), status: 400, oauth: "unauthorized_client", code: 700016, says: "11111111-"},
		"no proof":                    {form: federated, status: 401, oauth: "invalid_client", code: 7000216},
		"secret of the developer":     {form: developer.with("client_secret", "guess"), status: 401, oauth: "invalid_client", code: 7000215},
		"secret for an identity":      {form: developer.with("client_id", clientID), status: 401, oauth: "invalid_client", code: 7000215},
		"no JWT":                      {form: federated.with("client_assertion", "x.y.z"), status: 400, oauth: "invalid_request", code: 50027},
		"algorithm":                   {form: assert(func(t *jwt.Token) { t.Method = jwt.SigningMethodHS256; t.Header["alg"] = "HS256" }), status: 400, oauth: "invalid_request", code: 50027, says: "HS256"},
		"assertion type":              {form: good.with("client_assertion_type", "x"), status: 400, oauth: "invalid_request", code: 50027},
		"no federated credential":     {form: good.with("client_id", bare), status: 401, oauth: "invalid_client", code: 70025, says: bare},
		"developer with an assertion": {form: good.with("client_id", a.Env().DeveloperClientID), status: 401, oauth: "invalid_client", code: 70025},
		"issuer":                      {form: assert(claim("iss", "https://elsewhere.example/")), status: 401, oauth: "invalid_client", code: 700211, says: "https://elsewhere.example/"},
		"issuer without its slash":    {form: assert(claim("iss", strings.TrimSuffix(a.Env().IssuerURL, "/"))), status: 401, oauth: "invalid_client", code: 700211},
		"audience":                    {form: assert(claim("aud", "api://other")), status: 401, oauth: "invalid_client", code: 700212, says: "api://other"},
		"subject":                     {form: assert(claim("sub", "system:serviceaccount:a:b")), status: 401, oauth: "invalid_client", code: 700213, says: "system:serviceaccount:a:b"},
		"subject's case":              {form: assert(claim("sub", strings.ToUpper(subject))), status: 401, oauth: "invalid_client", code: 7002138},
		"issuer before subject":       {form: assert(func(t *jwt.Token) { claim("iss", "https://x/")(t); claim("sub", "y")(t) }), status: 401, oauth: "invalid_client", code: 700211},
		"kid":                         {form: assert(func(t *jwt.Token) { t.Header["kid"] = "k9" }), status: 401, oauth: "invalid_client", code: 7000272, says: "k9"},
		"signature":                   {form: federated.with("client_assertion", forged), status: 400, oauth: "invalid_request", code: 50027},
		"expired":                     {form: assert(claim("exp", long.Unix())), status: 401, oauth: "invalid_client", code: 700024},
		"never expires":               {form: assert(func(t *jwt.Token) { delete(t.Claims.(jwt.MapClaims), "exp") }), status: 401, oauth: "invalid_client", code: 700024},
		"not yet valid":               {form: assert(claim("nbf", time.Now().Add(time.Hour).Unix())), status: 401, oauth: "invalid_client", code: 700024},
		"resource":                    {form: good.with("scope", "https://storage.example/.default"), status: 400, oauth: "invalid_resource", code: 500011, says: "https://storage.example"},
		"scope without default":       {form: good.with("scope", "https://vault.azure.net/read"), status: 400, oauth: "invalid_scope", code: 1002012},
		"two resources":               {form: good.with("scope", "https://vault.azure.net/.default https://management.azure.com/.default"), status: 400, oauth: "invalid_scope", code: 70011},
		"no scope":                    {form: good.with("scope", ""), status: 400, oauth: "invalid_request", code: 900144},
	} {
		t.Run(name, func(t *testing.T) {
			url, method := tt.url, "POST"
			if url == "" {
				url = a.tokenURL()
			}
			if tt.form == nil {
				method = "GET"
			}
			checkEntra(t, a.do(method, url, "", tt.form.encode()), tt.status, tt.oauth, tt.code, tt.says)
		})
	}
}

func checkEntra(t *testing.T, r reply, status int, oauth string, code float64, says string) {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	body := r.json(t)
	if status == 200 {
		if _, hasScope := body["scope"]; hasScope || body["access_token"] == nil {
			t.Errorf("want a token and no scope: %v", body)
		}
		return
	}
	description, _ := body["error_description"].(string)
	if body["error"] != oauth || body["error_codes"].([]any)[0] != code || !strings.Contains(description, says) {
		t.Errorf("got %s, want %s %.0f saying %q", r.body, oauth, code, says)
	}
	for _, part := range []string{"AADSTS", " Trace ID: ", " Correlation ID: ", " Timestamp: "} {
		if !strings.Contains(description, part) {
			t.Errorf("description lacks %q: %s", part, description)
		}
	}
}

func TestEntraTellsWhenTheIssuerIsUnreachable(t *testing.T) {
	a, clientID := onboarded(t, emulator.Options{})
	f := form{
		"grant_type": "client_credentials", "scope": "https://vault.azure.net/.default", "client_id": clientID,
		"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion": a.assertion(nil),
	}
	exchange := func() reply { return a.do("POST", a.tokenURL(), "", f.encode()) }
	a.SetIssuerBackend(nil)
	checkEntra(t, exchange(), 400, "invalid_request", 501661, "not running")
	a.SetIssuerBackend(func(context.Context, string) ([]byte, error) { return nil, errors.New("connection refused") })
	checkEntra(t, exchange(), 400, "invalid_request", 501661, "connection refused")
	a.SetIssuerBackend(cluster("https://another.example/").Documents)
	checkEntra(t, exchange(), 400, "invalid_request", 501661, "https://another.example/")
	a.SetIssuerBackend(cluster(a.Env().IssuerURL).Documents)
	checkEntra(t, exchange(), 200, "", 0, "")
	a.SetIssuerBackend(nil)
	checkEntra(t, exchange(), 200, "", 0, "") // from memory, for a short time
}

func TestEntraEchoesTheCorrelationID(t *testing.T) {
	a := start(t, emulator.Options{})
	r, err := http.NewRequest("POST", a.tokenURL(), strings.NewReader("grant_type=x&client_id=y"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Client-Request-Id", "the-id")
	r.Header.Set("Return-Client-Request-Id", "true")
	answer, err := a.HTTP.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if got := answer.Header.Get("Client-Request-Id"); got != "the-id" {
		t.Errorf("Client-Request-Id %q", got)
	}
}

func TestKeyVaultRefusesAsAzureDoes(t *testing.T) {
	a, clientID := onboarded(t, emulator.Options{})
	mine := a.developerToken("https://vault.azure.net")
	theirs := a.do("POST", a.tokenURL(), "", form{
		"grant_type": "client_credentials", "scope": "https://vault.azure.net/.default", "client_id": clientID,
		"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion": a.assertion(nil),
	}.encode()).json(t)["access_token"].(string)
	const vault = "https://sample.vault.azure.net"
	value := base64.RawURLEncoding.EncodeToString([]byte("0123456789abcdef"))
	op := object{"alg": "RSA-OAEP-256", "value": value}
	for _, key := range []string{"disabled", "limited", "gone"} {
		a.mustARM("PUT", vaultPath+"/keys/"+key, object{"properties": object{"kty": "RSA", "keySize": 2048}})
	}
	patch := func(key string, body object) {
		if r := a.do("PATCH", vault+"/keys/"+key+"?api-version=7.4", mine, body); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	patch("disabled", object{"attributes": object{"enabled": false}})
	patch("limited", object{"key_ops": []string{"encrypt"}})
	a.do("DELETE", vault+"/keys/gone?api-version=7.4", mine, nil)
	a.mustARM("PUT", group+"/providers/Microsoft.KeyVault/vaults/foreign", object{"location": "westeurope", "properties": object{
		"tenantId": "99999999-2222-3333-4444-555555555555", "sku": object{"name": "standard"}}})
	a.mustARM("PUT", group+"/providers/Microsoft.KeyVault/vaults/byrole", object{"location": "westeurope", "properties": object{
		"tenantId": a.Env().TenantID, "sku": object{"name": "standard"}, "enableRbacAuthorization": true}})

	for name, tt := range map[string]struct {
		method, url, token string
		body               any
		status             int
		code, inner, says  string
	}{
		"get":                      {"GET", vault + "/keys/sops/", mine, nil, 200, "", "", ""},
		"name in another case":     {"GET", vault + "/keys/SOPS", mine, nil, 200, "", "", ""},
		"host in another case":     {"GET", "https://SAMPLE.vault.azure.net/keys/sops", mine, nil, 200, "", "", ""},
		"no token":                 {"GET", vault + "/keys/sops", "", nil, 401, "Unauthorized", "", "missing a Bearer"},
		"no JWT":                   {"GET", vault + "/keys/sops", "abc", nil, 401, "Unauthorized", "", ""},
		"audience":                 {"GET", vault + "/keys/sops", a.developerToken("https://management.azure.com"), nil, 401, "Unauthorized", "", "AKV10022: Invalid audience. Expected https://vault.azure.net, found: https://management.azure.com"},
		"issuer":                   {"GET", "https://foreign.vault.azure.net/keys/sops", mine, nil, 401, "Unauthorized", "", "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/99999999-"},
		"signature":                {"GET", vault + "/keys/sops", mine[:len(mine)-8] + "AAAAAAAA", nil, 401, "Unauthorized", "", "signature"},
		"policy":                   {"POST", vault + "/keys/sops/encrypt", theirs, op, 403, "Forbidden", "ForbiddenByPolicy", "does not have keys encrypt permission on key vault 'sample;location=westeurope'"},
		"role":                     {"GET", "https://byrole.vault.azure.net/keys/sops", mine, nil, 403, "Forbidden", "ForbiddenByRbac", "Assignment: (not found)"},
		"key":                      {"GET", vault + "/keys/absent", mine, nil, 404, "KeyNotFound", "", "absent"},
		"version":                  {"GET", vault + "/keys/sops/0123456789abcdef0123456789abcdef", mine, nil, 404, "KeyNotFound", "", "sops/0123456789abcdef0123456789abcdef"},
		"deleted":                  {"GET", vault + "/keys/gone", mine, nil, 404, "KeyNotFound", "", "gone"},
		"deleted name":             {"POST", vault + "/keys/gone/create", mine, object{"kty": "RSA"}, 409, "Conflict", "ObjectIsDeletedButRecoverable", "gone"},
		"disabled encrypts":        {"POST", vault + "/keys/disabled/encrypt", mine, op, 200, "", "", ""},
		"disabled does not open":   {"POST", vault + "/keys/disabled/decrypt", mine, op, 403, "Forbidden", "KeyDisabled", ""},
		"disabled does not unwrap": {"POST", vault + "/keys/disabled/unwrapkey", mine, op, 403, "Forbidden", "KeyDisabled", ""},
		"operation":                {"POST", vault + "/keys/limited/decrypt", mine, op, 403, "Forbidden", "KeyOperationForbidden", "Operation decrypt is not permitted on this key."},
		"ciphertext":               {"POST", vault + "/keys/sops/decrypt", mine, op, 400, "BadParameter", "", ""},
		"algorithm":                {"POST", vault + "/keys/sops/decrypt", mine, object{"alg": "A256GCM", "value": value}, 400, "BadParameter", "", "A256GCM"},
		"value":                    {"POST", vault + "/keys/sops/decrypt", mine, object{"alg": "RSA-OAEP-256", "value": "!"}, 400, "BadParameter", "", ""},
		"too long a value":         {"POST", vault + "/keys/sops/encrypt", mine, object{"alg": "RSA-OAEP-256", "value": strings.Repeat("A", 400)}, 400, "BadParameter", "", "too long"},
		"type":                     {"POST", vault + "/keys/new/create", mine, object{"kty": "EC"}, 400, "BadParameter", "", "EC"},
		"HSM in a standard vault":  {"POST", vault + "/keys/new/create", mine, object{"kty": "RSA-HSM"}, 400, "BadParameter", "", "premium"},
		"size":                     {"POST", vault + "/keys/new/create", mine, object{"kty": "RSA", "key_size": 1024}, 400, "BadParameter", "", "1024"},
		"incomplete import":        {"PUT", vault + "/keys/new", mine, object{"key": object{"kty": "RSA", "n": value}}, 400, "BadParameter", "", ""},
		"method":                   {"POST", vault + "/keys/sops", mine, nil, 405, "MethodNotAllowed", "", ""},
		"path":                     {"GET", vault + "/secrets/x", mine, nil, 404, "NotFound", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := a.do(tt.method, tt.url+"?api-version=7.4", tt.token, tt.body)
			if r.status != tt.status {
				t.Fatalf("status %d, want %d: %s", r.status, tt.status, r.body)
			}
			if tt.status == 200 {
				return
			}
			problem := r.json(t)["error"].(object)
			inner, _ := dig(problem, "innererror", "code").(string)
			if problem["code"] != tt.code || inner != tt.inner || !strings.Contains(problem["message"].(string), tt.says) {
				t.Errorf("got %s, want %s/%s saying %q", r.body, tt.code, tt.inner, tt.says)
			}
			if challenge := r.header.Get("WWW-Authenticate"); tt.status == 401 && !strings.HasPrefix(challenge, `Bearer authorization="https://login.microsoftonline.com/`) {
				t.Errorf("challenge %q", challenge)
			}
		})
	}
}

func TestChallengeHasTheExactFormThatClientsParse(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	got := a.do("POST", "https://sample.vault.azure.net/keys/sops/decrypt?api-version=7.4", "", nil).header.Get("WWW-Authenticate")
	want := `Bearer authorization="https://login.microsoftonline.com/` + a.Env().TenantID + `", resource="https://vault.azure.net"`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTokensEndWithTheirTime(t *testing.T) {
	var ahead atomic.Int64
	a, _ := onboarded(t, emulator.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	token := a.developerToken("https://vault.azure.net")
	get := func() int {
		return a.do("GET", "https://sample.vault.azure.net/keys/sops?api-version=7.4", token, nil).status
	}
	if status := get(); status != 200 {
		t.Fatalf("fresh: %d", status)
	}
	ahead.Store(int64(2 * time.Hour))
	if status := get(); status != 401 {
		t.Errorf("after two hours: %d, want 401", status)
	}
}
