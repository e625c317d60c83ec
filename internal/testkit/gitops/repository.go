package gitops

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/local/githttp"
)

// Repository is a bare repository with the branch main, served over plain HTTP, and a working copy of it.
type Repository struct {
	URL  string // of the bare repository, on loopback
	Bare string // its folder
	Work string // the working copy's folder; its origin is the folder Bare, so no request is spent on it

	t testing.TB
}

// NewRepository starts one, empty, until the test ends. What wrap makes of the Git server answers in its place; nil leaves
// it as it is.
func NewRepository(t testing.TB, wrap func(http.Handler) http.Handler) *Repository {
	t.Helper()
	root := t.TempDir()
	r := &Repository{Bare: filepath.Join(root, "app.git"), Work: filepath.Join(t.TempDir(), "work"), t: t}
	if err := githttp.Init(t.Context(), r.Bare, "main"); err != nil {
		t.Fatal(err)
	}
	handler, err := githttp.Handler(root, nil)
	if err != nil {
		t.Fatal(err)
	}
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.CloseClientConnections() // or a request that hangs would hold the end up
		server.Close()
	})
	r.URL = server.URL + "/app.git"
	r.run("", "clone", "-q", r.Bare, r.Work)
	return r
}

// Git runs a git command in the working copy, as a user called Ada, and returns what it printed.
func (r *Repository) Git(args ...string) string {
	r.t.Helper()
	return r.run(r.Work, args...)
}

func (r *Repository) run(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.com"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Commit writes files by slash-separated path (an empty one is removed) and commits them, even if nothing changed.
func (r *Repository) Commit(files map[string]string) {
	r.t.Helper()
	for name, content := range files {
		if content == "" {
			r.Git("rm", "-q", "-f", "--", name)
			continue
		}
		path := filepath.Join(r.Work, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	r.Git("add", "-A")
	r.Git("commit", "-q", "--allow-empty", "-m", "change")
}

// Push makes the working copy's HEAD the remote's main, by force if need be, and returns it as Flux writes a revision:
// main@sha1:HASH.
func (r *Repository) Push() (revision string) {
	r.t.Helper()
	r.Git("push", "-q", "-f", "origin", "HEAD:main")
	return "main@sha1:" + r.Git("rev-parse", "HEAD")
}
