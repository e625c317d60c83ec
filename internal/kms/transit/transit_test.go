package transit

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// recorder keeps where requests would have gone, and lets none through.
type recorder struct{ urls []string }

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.urls = append(r.urls, req.URL.Scheme+"://"+req.URL.Host+" "+req.URL.Path)
	return nil, errors.New("x509: nobody is there")
}

// Whatever a document says, the token goes to a server that is named, and to decrypt or encrypt under the engine.
func FuzzTheTokenNeverLeavesTheListedServer(f *testing.F) {
	f.Add("https://vault.test", "transit", "sops")
	f.Add("https://vault.test:8200/", "team/transit", "k")
	f.Add("https://vault.test@evil.test", "transit", "sops")
	f.Add("https://vault.test.evil.test", "transit", "sops")
	f.Add("https://vault.test/../x#", "../sys/raw", "a/../b")
	f.Add("https://vault.test\\@evil.test", "transit", "?x")
	f.Add("HTTPS://VAULT.TEST", "a//b", "%2e%2e")
	list, err := ParseAllowlist("test", "https://vault.test, https://vault.test:8200")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, address, engine, name string) {
		r := &recorder{}
		c := New(Static("token"), Options{HTTP: &http.Client{Transport: r}, Allow: []Allowlist{list}})
		_, err := c.Decrypt(context.Background(), Key{address, engine, name}, "vault:v1:AAAA")
		if fault.From(err) == nil {
			t.Fatalf("no fault: %v", err)
		}
		for _, u := range r.urls {
			origin, path, _ := strings.Cut(u, " ")
			if o := strings.ToLower(origin); o != "https://vault.test" && o != "https://vault.test:8200" {
				t.Errorf("%q: sent to %s", address, origin)
			}
			if path != "/v1/"+engine+"/decrypt/"+name {
				t.Errorf("%q, %q: sent to %s", engine, name, path)
			}
		}
	})
}

func TestAListedServerIsReached(t *testing.T) {
	list, _ := ParseAllowlist("test", "https://vault.test")
	r := &recorder{}
	c := New(Static("token"), Options{HTTP: &http.Client{Transport: r}, Allow: []Allowlist{list}})
	_, _ = c.Decrypt(t.Context(), Key{"https://vault.test/", "team/transit", "sops"}, "vault:v1:AAAA")
	if strings.Join(r.urls, ",") != "https://vault.test /v1/team/transit/decrypt/sops" {
		t.Errorf("sent to %v", r.urls)
	}
}

func TestAllowlistsThatSayNothingAreRefused(t *testing.T) {
	for _, text := range []string{"", " , ", "vault.test", "ftp://vault.test", "https://vault.test/path", "https://u@vault.test", "https://a.test all"} {
		if l, err := ParseAllowlist("x", text); err == nil {
			t.Errorf("%q: %+v", text, l)
		}
	}
}
