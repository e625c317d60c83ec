package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const url = "https://westeurope.oic.prod-aks.azure.com/tenant/cluster/"

func TestOnlyTheClustersOwnIssuerIsServed(t *testing.T) {
	s := New(url)
	s.SetBackend(func(_ context.Context, path string) ([]byte, error) {
		return []byte(`{"path":"` + path + `","issuer":"` + url + `","jwks_uri":"https://10.0.0.1/jwks"}`), nil
	})
	for target, want := range map[string]int{
		url + ".well-known/openid-configuration": 200,
		url + "openid/v1/jwks":                   200,
		url:                                      404,
		url + "/.well-known/openid-configuration":                         404, // one slash too many
		strings.Replace(url, "tenant", "other", 1) + "openid/v1/jwks":     404,
		strings.Replace(url, "cluster", "other", 1) + "openid/v1/jwks":    404,
		strings.Replace(url, "westeurope", "other", 1) + "openid/v1/jwks": 404,
		strings.Replace(url, "tenant", "Tenant", 1) + "openid/v1/jwks":    404,
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", target, w.Code, want)
		}
	}
}

func TestDiscoveryPointsToTheKeysUnderTheIssuer(t *testing.T) {
	s := New(url)
	s.SetBackend(func(context.Context, string) ([]byte, error) {
		return []byte(`{"issuer":"as the API server says","jwks_uri":"https://10.0.0.1/jwks"}`), nil
	})
	data, err := s.Fetch(t.Context(), url+".well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got["jwks_uri"] != url+"openid/v1/jwks" || got["issuer"] != "as the API server says" {
		t.Errorf("%v", got)
	}
}

func TestNothingIsMadeUpWhileTheAPIServerIsAway(t *testing.T) {
	s := New(url)
	ask := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", url+".well-known/openid-configuration", nil))
		return w
	}
	if w := ask(); w.Code != http.StatusBadGateway || !strings.Contains(w.Body.String(), "not running") {
		t.Errorf("before the cluster: %d %s", w.Code, w.Body)
	}
	s.SetBackend(func(context.Context, string) ([]byte, error) { return nil, errors.New("connection refused") })
	if w := ask(); w.Code != http.StatusBadGateway || !strings.Contains(w.Body.String(), "connection refused") {
		t.Errorf("down: %d %s", w.Code, w.Body)
	}
	s.SetBackend(func(context.Context, string) ([]byte, error) { return []byte("<html>"), nil })
	if w := ask(); w.Code != http.StatusBadGateway {
		t.Errorf("nonsense: %d %s", w.Code, w.Body)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("POST", url+"openid/v1/jwks", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}
