package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// counter counts as the recorder does.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) count(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[key]++
}

func (c *counter) of(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[key]
}

type fixture struct {
	*Proxy
	authority *Authority
	counts    *counter
	stop      func()
}

func startProxy(t *testing.T, upstream func(*http.Request) (*url.URL, error)) *fixture {
	t.Helper()
	f := &fixture{authority: authority(t, t.TempDir()), counts: &counter{n: map[string]int{}}}
	p, err := Listen(Config{
		Addr: "127.0.0.1:0", Authority: f.authority, Count: f.counts.count, Upstream: upstream,
		Emulated: func(host string) (bool, error) {
			if host == "absent.vault.azure.net" {
				return true, errors.New("no vault named absent")
			}
			return strings.HasSuffix(host, ".vault.azure.net"), nil
		},
		Azure: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "azure %s %s", r.Host, r.Proto)
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Proxy = p
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(f.stop)
	return f
}

func (f *fixture) url() *url.URL { return &url.URL{Scheme: "http", Host: f.Addr()} }

func (f *fixture) client(t *testing.T, extra *x509.Certificate, h2 bool) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(f.authority.cert)
	if extra != nil {
		roots.AddCert(extra)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(f.url()), TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: h2}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	answer, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestEmulatedHostsAreAnsweredOverBothProtocols(t *testing.T) {
	f := startProxy(t, nil)
	for _, tt := range []struct {
		h2   bool
		want string
	}{{false, "azure v.vault.azure.net HTTP/1.1"}, {true, "azure v.vault.azure.net HTTP/2.0"}} {
		if _, body := get(t, f.client(t, nil, tt.h2), "https://v.vault.azure.net/"); body != tt.want {
			t.Errorf("got %q, want %q", body, tt.want)
		}
	}
	if n := f.counts.of("proxy/azure"); n != 2 {
		t.Errorf("%d connections counted, want 2", n)
	}
}

func TestOtherHostsPassUntouched(t *testing.T) {
	f := startProxy(t, nil)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "theirs") }))
	defer secure.Close()
	if _, body := get(t, f.client(t, secure.Certificate(), false), secure.URL); body != "theirs" {
		t.Errorf("https: %q", body)
	}
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, r.Host+r.Header.Get("Proxy-Connection"))
	}))
	defer plain.Close()
	transport := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return f.url(), nil }}
	defer transport.CloseIdleConnections()
	status, body := get(t, &http.Client{Transport: transport}, plain.URL)
	if status != http.StatusTeapot || "http://"+body != plain.URL {
		t.Errorf("http: %d %q", status, body)
	}
}

func TestUpstreamProxyIsUsedUnlessItIsThisOne(t *testing.T) {
	theirs := startProxy(t, nil)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "theirs") }))
	defer secure.Close()

	ours := startProxy(t, func(*http.Request) (*url.URL, error) { return theirs.url(), nil })
	if _, body := get(t, ours.client(t, secure.Certificate(), false), secure.URL); body != "theirs" || theirs.counts.of("proxy/tunnel") != 1 {
		t.Errorf("%q through %d upstream tunnels", body, theirs.counts.of("proxy/tunnel"))
	}

	var self *fixture
	self = startProxy(t, func(*http.Request) (*url.URL, error) { return self.url(), nil })
	if _, body := get(t, self.client(t, secure.Certificate(), false), secure.URL); body != "theirs" || self.counts.of("proxy/tunnel") != 1 {
		t.Errorf("%q through %d of its own tunnels", body, self.counts.of("proxy/tunnel"))
	}
}

// connect sends a bare CONNECT and returns the answer.
func connect(t *testing.T, f *fixture, target string) (net.Conn, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", f.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn, answer
}

func TestConnectIsRefusedWithTheReason(t *testing.T) {
	f := startProxy(t, nil)
	closed := httptest.NewServer(nil)
	closed.Close()
	for target, want := range map[string]string{
		"absent.vault.azure.net:443":                  "no vault named absent",
		"v.vault.azure.net:8443":                      "port 443 only",
		strings.TrimPrefix(closed.URL, "http://"):     "connection refused",
		strings.ToUpper("absent.vault.azure.net:443"): "no vault named absent",
	} {
		_, answer := connect(t, f, target)
		body, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != http.StatusBadGateway || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d %q, want 502 saying %q", target, answer.StatusCode, body, want)
		}
	}
}

func TestHostMustBeTheOneConnectedTo(t *testing.T) {
	f := startProxy(t, nil)
	r, err := http.NewRequest("GET", "https://v.vault.azure.net/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "other.vault.azure.net"
	answer, err := f.client(t, nil, false).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("status %d, want 421", answer.StatusCode)
	}
}

func TestDirectRequestsFindHealthOnly(t *testing.T) {
	f := startProxy(t, nil)
	if status, body := get(t, http.DefaultClient, f.url().String()+"/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %q", status, body)
	}
	if status, _ := get(t, http.DefaultClient, f.url().String()+"/"); status != 404 {
		t.Errorf("/: %d, want 404", status)
	}
}

func TestStoppingCutsTunnelsAndGivesThePortBack(t *testing.T) {
	f := startProxy(t, nil)
	remote, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = remote.Close() }()
	conn, answer := connect(t, f, remote.Addr().String())
	if answer.StatusCode != 200 {
		t.Fatal(answer.Status)
	}
	f.stop()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the tunnel still stands")
	}
	again, err := net.Listen("tcp", f.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

func TestAddressesThatCannotServeAreFaults(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for addr, code := range map[string]string{
		"0.0.0.0:0": "SLU-PLATFORM-106", ":0": "SLU-PLATFORM-106", "192.0.2.1:80": "SLU-PLATFORM-106",
		"example.com:80": "SLU-PLATFORM-106", "nonsense": "SLU-PLATFORM-106", taken.Addr().String(): "SLU-PLATFORM-107",
	} {
		_, err := Listen(Config{Addr: addr})
		if f := fault.From(err); f == nil || f.Code != code || f.Fix == "" {
			t.Errorf("%s: %v, want %s", addr, err, code)
		}
	}
}
