package source

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluice-gitops/sluice/internal/fault"
)

func TestAGitHubAppSignsInAndGetsAnInstallationToken(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	var seen []string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.URL.Path)
		var claims jwt.RegisteredClaims
		_, err := jwt.ParseWithClaims(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), &claims,
			func(*jwt.Token) (any, error) { return &key.PublicKey, nil }, jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuedAt())
		switch {
		case err != nil || claims.Issuer != "7":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/api/v3/users/ada/installation":
			fmt.Fprint(w, `{"id":42}`)
		case r.URL.Path == "/api/v3/app/installations/42/access_tokens" && r.Method == http.MethodPost:
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"token":"ghs_x","expires_at":"2030-01-01T00:00:00Z"}`)
		case r.URL.Path == "/api/v3/app/installations/43/access_tokens":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer api.Close()
	app := GitHubApp{AppID: "7", InstallationID: "42", BaseURL: api.URL + "/api/v3/", PrivateKey: pemKey}
	byOwner := app
	byOwner.InstallationID, byOwner.Owner = "", "ada"
	for _, a := range []GitHubApp{app, byOwner} {
		token, err := a.Token(t.Context())
		if err != nil || token.Value != "ghs_x" || token.Expires.Year() != 2030 {
			t.Errorf("token %+v, %v", token, err)
		}
	}
	if got := strings.Join(seen, ", "); !strings.HasSuffix(got, "GET /api/v3/orgs/ada/installation, GET /api/v3/users/ada/installation, POST /api/v3/app/installations/42/access_tokens") {
		t.Errorf("requests %s", got)
	}
	for name, edit := range map[string]func(*GitHubApp){
		"HTTP 401":             func(a *GitHubApp) { a.AppID = "8" },
		"HTTP 404":             func(a *GitHubApp) { a.InstallationID = "1" },
		"HTTP 302":             func(a *GitHubApp) { a.InstallationID = "43" },
		"no RSA key":           func(a *GitHubApp) { a.PrivateKey = []byte("secret") },
		"no http address":      func(a *GitHubApp) { a.BaseURL = "file:///x" },
		"no answer":            func(a *GitHubApp) { a.BaseURL = "http://127.0.0.1:1" },
		"holds no PEM":         func(a *GitHubApp) { a.CAFile = []byte("x") },
		"the app is not insta": func(a *GitHubApp) { a.InstallationID, a.Owner = "", "nobody" },
	} {
		broken := app
		edit(&broken)
		_, err := broken.Token(t.Context())
		f := fault.From(err)
		if f == nil || !strings.Contains(err.Error(), name) || f.Reason != reasonAuth || f.Fix == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAProxyOfItsOwnCarriesTheTraffic(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": "one"})
	target, err := url.Parse(h.URL)
	check(t, err)
	forward := httputil.NewSingleHostReverseProxy(target)
	asked := 0
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "Basic YWRhOnNlY3JldC1vZi1wcm94eQ==" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		if r.URL.Host == "git.invalid" {
			asked++
		}
		r.Host = target.Host // the server answers to its own names alone
		forward.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	u, err := url.Parse(proxy.URL)
	check(t, err)
	spec := Spec{URL: "http://git.invalid/apps.git", Branch: "main", Auth: Auth{Proxy: u}}
	f := refused(t, openMirror(t), spec, "SLU-GIT-007")
	contains(t, f.Error(), "HTTP 407", "spec.proxySecretRef")
	u.User = url.UserPassword("ada", "secret-of-proxy")
	if got := content1(t, fetch(t, openMirror(t), spec, nil), "f"); got != "one" || asked != 2 {
		t.Errorf("read %q in %d requests", got, asked)
	}
	proxy.Close()
	if err := refused(t, openMirror(t), spec, "SLU-GIT-007").Error(); strings.Contains(err, "secret-of-proxy") || !strings.Contains(err, "spec.proxySecretRef") {
		t.Error(err)
	}
}
