package source

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// canary is a credential that must appear in no error.
const canary = "s3cr3t-canary-value"

func caOf(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func TestPrivateCAIsTrustedOnlyWhenGiven(t *testing.T) {
	h := newHost(t, (*httptest.Server).StartTLS)
	h.Config.ErrorLog = quiet()
	h.commit(t, map[string]string{"f": "one"})
	m := openMirror(t)
	f := refused(t, m, Spec{URL: h.url(), Branch: "main"}, "SLU-GIT-006")
	contains(t, f.Error(), "unknown authority", "ca.crt")
	if got := h.taken(); len(got) != 0 {
		t.Errorf("the server got %q before its certificate was trusted", got)
	}
	rev := fetch(t, m, Spec{URL: h.url(), Branch: "main", Auth: Auth{CAFile: caOf(h.Server)}}, nil)
	if content1(t, rev, "f") != "one" {
		t.Error("wrong content")
	}
}

func TestClientCertificateIsShownToTheOriginAlone(t *testing.T) {
	cert, key := selfSigned(t)
	asks := &tls.Config{ClientAuth: tls.RequestClientCert}
	other := newHost(t, withTLS(asks.Clone()))
	other.commit(t, map[string]string{"f": "one"})
	h := newHost(t, withTLS(asks.Clone()))
	var shown int
	h.answer(func(w http.ResponseWriter, r *http.Request) bool {
		shown = len(r.TLS.PeerCertificates)
		http.Redirect(w, r, other.URL+r.URL.RequestURI(), http.StatusFound)
		return true
	})
	elsewhere := 0
	other.answer(func(_ http.ResponseWriter, r *http.Request) bool {
		elsewhere += len(r.TLS.PeerCertificates)
		return false
	})
	auth := Auth{CAFile: append(caOf(h.Server), caOf(other.Server)...), ClientCert: cert, ClientKey: key}
	fetch(t, openMirror(t), Spec{URL: h.url(), Branch: "main", Auth: auth}, nil)
	if shown != 1 || elsewhere != 0 {
		t.Errorf("the certificate was shown %d times to the origin, %d times elsewhere", shown, elsewhere)
	}
}

func TestServerThatDemandsAClientCertificateIsExplained(t *testing.T) {
	h := newHost(t, withTLS(&tls.Config{ClientAuth: tls.RequireAnyClientCert}))
	h.Config.ErrorLog = quiet()
	f := refused(t, openMirror(t), Spec{URL: h.url(), Auth: Auth{CAFile: caOf(h.Server)}}, "SLU-GIT-006")
	contains(t, f.Fix, "tls.crt")
}

func TestRedirectToAnotherHostCarriesNoCredentials(t *testing.T) {
	other := newHost(t, nil)
	other.commit(t, map[string]string{"f": "one"})
	h := newHost(t, nil)
	h.answer(func(w http.ResponseWriter, r *http.Request) bool {
		to, _ := url.Parse(other.URL + r.URL.RequestURI())
		to.User = url.UserPassword("planted", "by-the-server")
		http.Redirect(w, r, to.String(), http.StatusFound)
		return true
	})
	for name, auth := range map[string]Auth{
		"basic":  {Username: "ada", Password: canary},
		"bearer": {BearerToken: canary},
		"in URL": {},
	} {
		spec := Spec{URL: h.url(), Branch: "main", Auth: auth}
		if name == "in URL" {
			spec.URL = strings.Replace(h.url(), "://", "://ada:"+canary+"@", 1)
		}
		h.taken()
		other.taken()
		if rev := fetch(t, openMirror(t), spec, nil); content1(t, rev, "f") != "one" {
			t.Error("wrong content")
		}
		if got := h.lastHeaders(); len(got) != 1 || got[0].Get("Authorization") == "" {
			t.Errorf("%s: the origin got %v", name, got)
		}
		got := other.lastHeaders()
		if len(got) != 2 {
			t.Errorf("%s: the other host got %d requests, want the listing and the pack", name, len(got))
		}
		for _, header := range got {
			for key, values := range header {
				if key == "Authorization" || key == "Cookie" || key == "Referer" || strings.Contains(fmt.Sprint(values), canary) {
					t.Errorf("%s: the other host got %s: %s", name, key, values)
				}
			}
		}
	}
	// Another port of the same name is another origin, and a refusal there says why.
	other.answer(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusUnauthorized); return true })
	f := refused(t, openMirror(t), Spec{URL: h.url(), Auth: Auth{Username: "ada", Password: canary}}, "SLU-GIT-004")
	contains(t, f.Error(), other.URL, "redirected")
}

func TestRedirectBackToTheOriginStaysWithoutCredentials(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": "one"})
	other := newHost(t, nil)
	other.answer(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, h.URL+"/second"+r.URL.RequestURI(), http.StatusFound)
		return true
	})
	second := "unset"
	h.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/second") {
			second = r.Header.Get("Authorization")
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		http.Redirect(w, r, other.URL+r.URL.RequestURI(), http.StatusFound)
		return true
	})
	refused(t, openMirror(t), Spec{URL: h.url(), Auth: Auth{Username: "ada", Password: canary}}, "SLU-GIT-004")
	if second != "" {
		t.Errorf("after a detour the origin got %q", second)
	}
}

func TestRedirectsThatAreNotFollowed(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": "one"})
	for name, front := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"to a sign-in page": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "/login", http.StatusFound)
			return true
		},
		"to a file": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "file:///etc/passwd/info/refs", http.StatusFound)
			return true
		},
		"in a circle": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, r.URL.RequestURI(), http.StatusFound)
			return true
		},
		"of the pack request": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				http.Redirect(w, r, "/elsewhere/info/refs", http.StatusTemporaryRedirect)
			}
			return r.Method == http.MethodPost
		},
	} {
		h.answer(front)
		t.Run(name, func(t *testing.T) {
			refused(t, openMirror(t), Spec{URL: h.url(), Branch: "main"}, "SLU-GIT-014")
		})
	}
}

func TestHTTPStatusesAreExplained(t *testing.T) {
	h := newHost(t, nil)
	for _, tt := range []struct {
		status int
		auth   Auth
		code   string
		says   string
	}{
		{401, Auth{}, "SLU-GIT-004", "none are set"},
		{401, Auth{Username: "ada", Password: canary}, "SLU-GIT-004", "rejects"},
		{401, Auth{BearerToken: canary}, "SLU-GIT-004", "rejects"},
		{403, Auth{Username: "ada", Password: canary}, "SLU-GIT-004", "refuses"},
		{404, Auth{Username: "ada", Password: canary}, "SLU-GIT-003", "not found"},
		{500, Auth{Username: "ada", Password: canary}, "SLU-GIT-011", "500"},
		{418, Auth{Username: "ada", Password: canary}, "SLU-GIT-011", "418"},
	} {
		h.answer(func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(tt.status)
			fmt.Fprintf(w, "you sent %s %s", r.Header.Get("Authorization"), canary) // a server that echoes
			return true
		})
		f := refused(t, openMirror(t), Spec{URL: h.url(), Auth: tt.auth}, tt.code)
		contains(t, f.Error(), tt.says)
		if all := fmt.Sprintf("%v %s %v %+v", f, f.Multiline(), f.Err, f.Err); strings.Contains(all, canary) {
			t.Errorf("%d: the error holds the credential: %s", tt.status, all)
		}
	}
}

func TestWrongCredentialsThenRightOnes(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": "one"})
	h.answer(func(w http.ResponseWriter, r *http.Request) bool {
		user, pass, _ := r.BasicAuth()
		bearer := r.Header.Get("Authorization") == "Bearer "+canary
		if user == "ada" && pass == canary || bearer {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	m := openMirror(t)
	refused(t, m, Spec{URL: h.url(), Branch: "main", Auth: Auth{Username: "ada", Password: "wrong"}}, "SLU-GIT-004")
	for _, auth := range []Auth{{Username: "ada", Password: canary}, {BearerToken: canary}} {
		fetch(t, m, Spec{URL: h.url(), Branch: "main", Auth: auth}, nil)
	}
	fetch(t, openMirror(t), Spec{URL: strings.Replace(h.url(), "://", "://ada:"+canary+"@", 1), Branch: "main"}, nil)
}

func TestServersThatSpeakSomethingElse(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": "one"})
	h.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html>welcome</html>")
		return true
	})
	f := refused(t, openMirror(t), Spec{URL: h.url()}, "SLU-GIT-003")
	contains(t, f.Error(), "text/html")
	for name, body := range map[string]string{
		"garbage":   "zzzz",
		"nothing":   "",
		"cut short": "001e# service=git-upload-pack\n0000",
		"error":     "0024ERR access denied or no such x\n",
	} {
		h.answer(func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			fmt.Fprint(w, body)
			return true
		})
		t.Run(name, func(t *testing.T) {
			if _, err := openMirror(t).Fetch(t.Context(), Spec{URL: h.url()}, nil); err == nil {
				t.Error("fetched")
			}
		})
	}
	h.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		fmt.Fprint(w, "0000"+"0008NAK\n"+"0010\x01PACK\x00\x00\x00\x02\x00\x00\x00"+"0000")
		return true
	})
	m := openMirror(t)
	if _, err := m.Fetch(t.Context(), Spec{URL: h.url(), Branch: "main"}, nil); err == nil {
		t.Error("a pack that is cut short was taken")
	}
	h.answer(nil)
	fetch(t, m, Spec{URL: h.url(), Branch: "main"}, nil)
}

func TestConnectionRefusedAndUnknownHost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	address := l.Addr().String()
	l.Close()
	f := refused(t, openMirror(t), Spec{URL: "http://ada:" + canary + "@" + address + "/apps.git"}, "SLU-GIT-007")
	contains(t, f.Error(), "connection refused", address)
	if strings.Contains(f.Error(), canary) {
		t.Error("the error holds the URL's password")
	}
}

func TestTLSPortThatSpeaksPlainHTTP(t *testing.T) {
	h := newHost(t, nil)
	f := refused(t, openMirror(t), Spec{URL: strings.Replace(h.url(), "http://", "https://", 1)}, "SLU-GIT-006")
	contains(t, f.Error(), "does not speak TLS")
}

func TestMalformedCredentialsAreRefusedBeforeDialling(t *testing.T) {
	h := newHost(t, nil)
	cert, _ := selfSigned(t)
	_, key := selfSigned(t)
	for name, auth := range map[string]Auth{
		"CA":         {CAFile: []byte(canary)},
		"half pair":  {ClientCert: cert},
		"wrong pair": {ClientCert: cert, ClientKey: key},
	} {
		f := refused(t, openMirror(t), Spec{URL: h.url(), Auth: auth}, "SLU-GIT-002")
		if f.Reason != "AuthenticationFailed" || strings.Contains(f.Error(), canary) {
			t.Errorf("%s: %v", name, f)
		}
	}
	if got := h.taken(); len(got) != 0 {
		t.Errorf("the server got %q", got)
	}
}

func TestPackageCanStartNoProcess(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	check(t, err)
	if deps := strings.Fields(string(out)); slices.Contains(deps, "os/exec") || len(deps) < 10 {
		t.Error("os/exec is among the package's dependencies")
	}
}

func selfSigned(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	check(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
