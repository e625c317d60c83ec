package entra

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
)

// FuzzParseAssertion: whatever comes in is refused with 50027 or read as an RS256 token that matching can look at.
func FuzzParseAssertion(f *testing.F) {
	identity := &store.Identity{ClientID: "c", Name: "n", Credentials: map[string]*store.Federation{
		"f": {Name: "f", Issuer: "https://issuer/", Subject: "subject", Audiences: []string{"audience"}},
	}}
	f.Fuzz(func(t *testing.T, raw string) {
		a, err := parseAssertion(raw)
		var refused *failure
		if err != nil {
			if !errors.As(err, &refused) || refused.code != 50027 || refused.status != 400 {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		err = matchFederation(identity, a)
		matches := a.claims.Issuer == "https://issuer/" && a.claims.Subject == "subject" && strings.Contains(strings.Join(a.claims.Audience, " "), "audience")
		if err == nil && !matches {
			t.Fatalf("%q matches", raw)
		}
		if err != nil && (!errors.As(err, &refused) || len(refused.text) > 2*600+200) {
			t.Fatalf("%q: %v", raw, err)
		}
	})
}

// FuzzVerify: nothing but our own signature passes.
func FuzzVerify(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	tokens := &Tokens{key: key, keyID: "k", now: time.Now}
	f.Fuzz(func(t *testing.T, raw string) {
		claims, err := tokens.Verify(raw)
		if err == nil {
			t.Fatalf("%q passes: %+v", raw, claims)
		}
		if (claims == nil) != errors.Is(err, ErrMalformed) {
			t.Fatalf("%q: %v with claims %v", raw, err, claims)
		}
	})
}

// FuzzParseJWKS: what is read can be used to verify.
func FuzzParseJWKS(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseJWKS(data)
		if err != nil {
			return
		}
		for kid, key := range keys {
			if key.E < 2 || key.N.BitLen() == 0 {
				t.Fatalf("%q: %+v", kid, key)
			}
			_ = jwt.SigningMethodRS256.Verify("text", make([]byte, key.Size()), key)
		}
	})
}

func TestVerifyTellsForgedFromExpired(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tokens := &Tokens{key: key, keyID: "k", now: func() time.Time { return now }}
	raw, _, err := tokens.mint(principal{clientID: "c", objectID: "o", tenant: "t", lifetime: time.Hour}, "https://vault.azure.net")
	if err != nil {
		t.Fatal(err)
	}
	claims, err := tokens.Verify(raw)
	if err != nil || claims.ObjectID != "o" || claims.Subject != "o" || claims.AppID != "c" || claims.TenantID != "t" ||
		claims.Issuer != "https://sts.windows.net/t/" || claims.AudienceName() != "https://vault.azure.net" || claims.Ver != "1.0" {
		t.Errorf("%+v, %v", claims, err)
	}
	parts := strings.Split(raw, ".")
	none := "eyJhbGciOiJub25lIn0." + parts[1] + "."
	for name, forged := range map[string]string{"cut": parts[0] + "." + parts[1] + ".", "unsigned": none, "other's": parts[0] + "." + parts[1] + "." + strings.Repeat("A", 342)} {
		if _, err := tokens.Verify(forged); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	now = now.Add(3 * time.Hour)
	if _, err := tokens.Verify(raw); !errors.Is(err, ErrExpired) {
		t.Errorf("late: %v", err)
	}
}

func TestResourceIsTheScopeLessDefault(t *testing.T) {
	for scope, want := range map[string]string{
		"https://vault.azure.net/.default":                                    "https://vault.azure.net",
		"openid https://vault.azure.net/.default profile":                     "https://vault.azure.net",
		"https://management.core.windows.net//.default":                       "https://management.core.windows.net/",
		"https://MANAGEMENT.azure.com/.default openid offline_access profile": "https://MANAGEMENT.azure.com",
		"cfa8b339-82a2-471a-a3c9-0fc0be7a4093/.default":                       "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",
	} {
		if got, err := resourceOf(url.Values{"scope": {scope}}, false); err != nil || got != want {
			t.Errorf("%s: %q, %v", scope, got, err)
		}
	}
}
