package source

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/gitexec"
	"github.com/sluice-gitops/sluice/internal/local/githttp"
)

// host is a real Git server over one repository, apps.git, with a working copy beside it.
type host struct {
	*httptest.Server
	bare, work string

	mu       sync.Mutex
	requests []string // method and path
	headers  []http.Header
	front    func(http.ResponseWriter, *http.Request) bool // true: it has answered
}

// newHost starts a server; start may be (*httptest.Server).StartTLS or nil for plain HTTP.
func newHost(t testing.TB, start func(*httptest.Server)) *host {
	t.Helper()
	root := t.TempDir()
	h := &host{bare: filepath.Join(root, "apps.git"), work: filepath.Join(t.TempDir(), "work")}
	if err := githttp.Init(t.Context(), h.bare, "main"); err != nil {
		t.Fatal(err)
	}
	git(t, "", "clone", "-q", h.bare, h.work)
	git(t, h.work, "symbolic-ref", "HEAD", "refs/heads/main")
	handler, err := githttp.Handler(root, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.requests = append(h.requests, r.Method+" "+r.URL.Path)
		h.headers = append(h.headers, r.Header.Clone())
		front := h.front
		h.mu.Unlock()
		if front == nil || !front(w, r) {
			handler.ServeHTTP(w, r)
		}
	}))
	if start == nil {
		start = (*httptest.Server).Start
	}
	start(h.Server)
	t.Cleanup(h.Close)
	return h
}

func (h *host) url() string { return h.URL + "/apps.git" }

func (h *host) answer(front func(http.ResponseWriter, *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.front = front
}

// taken returns the requests since the last call.
func (h *host) taken() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.requests
	h.requests, h.headers = nil, nil
	return got
}

func (h *host) lastHeaders() []http.Header {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.headers
}

func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	args = append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"}, args...)
	out, err := gitexec.Run(t.Context(), dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files into the working copy, commits and pushes main; an empty content removes the file.
func (h *host) commit(t testing.TB, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(h.work, name)
		if content == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git(t, h.work, "add", "-A")
	git(t, h.work, "commit", "-q", "--allow-empty", "-m", "change something\n\nwith a body")
	git(t, h.work, "push", "-q", "--force", "origin", "HEAD:main")
	return git(t, h.work, "rev-parse", "HEAD")
}

func openMirror(t testing.TB) *Mirror {
	t.Helper()
	m, err := OpenMirror(filepath.Join(t.TempDir(), "mirror"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func fetch(t testing.TB, m *Mirror, spec Spec, last *Revision) *Revision {
	t.Helper()
	rev, err := m.Fetch(t.Context(), spec, last)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// refused fetches and returns the fault, which must have the code and hop git, and words for every part.
func refused(t *testing.T, m *Mirror, spec Spec, code string) *fault.Fault {
	t.Helper()
	rev, err := m.Fetch(t.Context(), spec, nil)
	if err == nil {
		t.Fatalf("Fetch gave %s, want fault %s", rev.Name, code)
	}
	var f *fault.Fault
	if !errors.As(err, &f) {
		t.Fatalf("Fetch = %v, want a fault", err)
	}
	if f.Code != code || f.Hop != fault.HopGit || f.Seen == "" || f.Fix == "" || f.Reason == "" {
		t.Errorf("fault %+v, want code %s, hop git, and what was seen, the fix and the reason", *f, code)
	}
	return f
}

func content1(t testing.TB, rev *Revision, path string) string {
	t.Helper()
	data, _, err := rev.Tree.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q lacks %q", text, part)
		}
	}
}

func withTLS(config *tls.Config) func(*httptest.Server) {
	return func(s *httptest.Server) { s.TLS = config; s.StartTLS() }
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// newBenchHost serves 200 apps of ten manifests each.
func newBenchHost(b *testing.B) *host {
	b.Helper()
	h := newHost(b, nil)
	files := map[string]string{}
	for i := range 2000 {
		files[fmt.Sprintf("apps/%03d/%d.yaml", i/10, i%10)] = fmt.Sprintf("kind: ConfigMap\nmetadata: {name: c%d}\n", i) + strings.Repeat("# filler\n", 100)
	}
	h.commit(b, files)
	return h
}

// rsaKeyOnce makes a public key that no list can hold.
func rsaKeyOnce() ssh.PublicKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		panic(err)
	}
	return signer.PublicKey()
}
