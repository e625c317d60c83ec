package gcp

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"golang.org/x/oauth2"

	"github.com/sluice-gitops/sluice/internal/fault"
)

type recorder struct{ urls []string }

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.urls = append(r.urls, req.URL.String())
	return nil, errors.New("x509: nobody is there")
}

// Whatever a document says, the token goes to the service, and to the key that it names.
func FuzzTheTokenNeverLeavesTheService(f *testing.F) {
	f.Add("projects/p/locations/global/keyRings/r/cryptoKeys/k")
	f.Add("projects/p/locations/global/keyRings/r/cryptoKeys/k/../../x")
	f.Add("projects/p@evil.test/locations/global/keyRings/r/cryptoKeys/k?")
	f.Add("../projects/example.com:p/locations/l/keyRings/r/cryptoKeys/k")
	f.Fuzz(func(t *testing.T, key string) {
		r := &recorder{}
		c := New(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "t"}), Options{HTTP: &http.Client{Transport: r}})
		if _, err := c.Decrypt(context.Background(), key, []byte("x")); fault.From(err) == nil {
			t.Fatalf("no fault: %v", err)
		}
		for _, u := range r.urls {
			if u != "https://cloudkms.googleapis.com/v1/"+key+":decrypt" {
				t.Errorf("%q: sent to %s", key, u)
			}
		}
	})
}

func TestAKeyIsReached(t *testing.T) {
	r := &recorder{}
	c := New(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "t"}), Options{HTTP: &http.Client{Transport: r}})
	_, _ = c.Decrypt(t.Context(), "projects/p/locations/global/keyRings/r/cryptoKeys/k", nil)
	if len(r.urls) != 1 {
		t.Errorf("sent to %v", r.urls)
	}
}
