package githttp

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/gitexec"
)

// host is a server over one repository, apps.git, and a log of the pushes it reported.
type host struct {
	*httptest.Server
	root string

	mu     sync.Mutex
	pushes []string
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{root: t.TempDir()}
	if err := Init(t.Context(), filepath.Join(h.root, "apps.git"), "main"); err != nil {
		t.Fatal(err)
	}
	handler, err := Handler(h.root, func(repo string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.pushes = append(h.pushes, repo)
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Server = httptest.NewServer(handler)
	t.Cleanup(h.Close)
	return h
}

func (h *host) reported() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.pushes...)
}

// git runs the real client.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := tryGit(t, dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryGit(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	args = append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"}, args...)
	out, err := gitexec.Run(t.Context(), dir, args...)
	return strings.TrimSpace(string(out)), err
}

func commit(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "add", name)
	git(t, dir, "commit", "-q", "-m", "change "+name)
	return git(t, dir, "rev-parse", "HEAD")
}

func clone(t *testing.T, url string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "work")
	git(t, "", "clone", "-q", url, dir)
	return dir
}

func TestPushIsServedAndReportedOnce(t *testing.T) {
	h := newHost(t)
	work := clone(t, h.URL+"/apps")
	want := commit(t, work, "a.txt", []byte("a"))
	git(t, work, "push", "-q", "origin", "HEAD:main")
	if got := h.reported(); len(got) != 1 || got[0] != "apps.git" {
		t.Fatalf("pushes reported: %q, want one of apps.git", got)
	}
	if got := git(t, clone(t, h.URL+"/apps.git"), "rev-parse", "HEAD"); got != want {
		t.Errorf("cloned %s, want %s", got, want)
	}
	git(t, work, "push", "-q", "origin", "HEAD:main")
	if got := h.reported(); len(got) != 1 {
		t.Errorf("a push without a change was reported: %q", got)
	}
	git(t, work, "push", "-q", "origin", "HEAD:refs/heads/other")
	git(t, work, "push", "-q", "origin", ":refs/heads/other")
	if got := h.reported(); len(got) != 3 {
		t.Errorf("a branch made and deleted gave %d reports in all, want 3", len(got))
	}
}

func TestRejectedPushIsNotReported(t *testing.T) {
	h := newHost(t)
	one, two := clone(t, h.URL+"/apps"), clone(t, h.URL+"/apps")
	commit(t, one, "a.txt", []byte("a"))
	git(t, one, "push", "-q", "origin", "HEAD:main")
	commit(t, two, "b.txt", []byte("b"))
	if _, err := tryGit(t, two, "push", "-q", "origin", "HEAD:main"); err == nil {
		t.Fatal("a push that is no fast-forward went through")
	}
	if got := h.reported(); len(got) != 1 {
		t.Errorf("reports: %q, want one", got)
	}
}

func TestPushLargerThanTheClientBuffersComesChunked(t *testing.T) {
	h := newHost(t)
	work := clone(t, h.URL+"/apps")
	data := make([]byte, 5<<20) // above http.postBuffer's 1 MiB
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	commit(t, work, "big.bin", data)
	git(t, work, "push", "-q", "origin", "HEAD:main")
	got, err := os.ReadFile(filepath.Join(clone(t, h.URL+"/apps"), "big.bin"))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("big.bin came back different (%v)", err)
	}
}

func TestBothProtocolVersionsWork(t *testing.T) {
	h := newHost(t)
	work := clone(t, h.URL+"/apps")
	want := commit(t, work, "a.txt", []byte("a"))
	git(t, work, "push", "-q", "origin", "HEAD:main")
	for _, version := range []string{"0", "1", "2"} {
		got := git(t, "", "-c", "protocol.version="+version, "ls-remote", h.URL+"/apps", "refs/heads/main")
		if !strings.HasPrefix(got, want) {
			t.Errorf("version %s: %q, want %s", version, got, want)
		}
		dir := filepath.Join(t.TempDir(), "c")
		git(t, "", "-c", "protocol.version="+version, "clone", "-q", "--depth=1", h.URL+"/apps", dir)
	}
}

func TestGzippedBodyIsRead(t *testing.T) {
	h := newHost(t)
	work := clone(t, h.URL+"/apps")
	hash := commit(t, work, "a.txt", []byte("a"))
	git(t, work, "push", "-q", "origin", "HEAD:main")
	var body bytes.Buffer
	zip := gzip.NewWriter(&body)
	_, _ = io.WriteString(zip, "0032want "+hash+"\n00000009done\n")
	_ = zip.Close()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL+"/apps/git-upload-pack", &body)
	r.Header.Set("Content-Type", "application/x-git-upload-pack-request")
	r.Header.Set("Content-Encoding", "gzip")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, _ := io.ReadAll(res.Body)
	if !bytes.HasPrefix(got, []byte("0008NAK\nPACK")) {
		t.Errorf("reply begins %.40q, want an acknowledgement and a pack", got)
	}
}

func TestRepositoriesOutsideTheRootAreNotFound(t *testing.T) {
	h := newHost(t)
	outside := filepath.Join(filepath.Dir(h.root), "secret.git")
	if err := Init(t.Context(), outside, "main"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(outside) })
	if err := os.Symlink(outside, filepath.Join(h.root, "link.git")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/../secret.git", "/apps.git/../../secret.git", "/%2e%2e/secret.git", "/..%2fsecret.git",
		"/link.git", "/link", "/.git", "/-x", "//apps.git", "/apps.git/objects", "/apps%00.git", "/" + outside, ""} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = path + "/info/refs?service=git-upload-pack"
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			continue // the client would not even send it
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			t.Errorf("%s is served", path)
		}
	}
}

func TestRequestsFromWebPagesAreRefused(t *testing.T) {
	h := newHost(t)
	for name, change := range map[string]func(*http.Request){
		"rebound name": func(r *http.Request) { r.Host = "attacker.example" },
		"browser":      func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"origin":       func(r *http.Request) { r.Header.Set("Origin", "https://attacker.example") },
	} {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL+"/apps/info/refs?service=git-upload-pack", nil)
		change(r)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: status %d, want 403", name, res.StatusCode)
		}
	}
}

func TestUserConfigurationDoesNotReachTheServer(t *testing.T) {
	home := t.TempDir()
	trap := filepath.Join(home, "ran")
	hooks := filepath.Join(home, "hooks")
	if err := os.MkdirAll(hooks, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, hook := range []string{"pre-receive", "update", "post-receive"} {
		if err := os.WriteFile(filepath.Join(hooks, hook), []byte("#!/bin/sh\ntouch "+trap+"\nexit 1\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	config := "[core]\n\thooksPath = " + hooks + "\n[receive]\n\tdenyCurrentBranch = refuse\n[http]\n\treceivepack = false\n"
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("GIT_DIR", "/nonexistent")
	h := newHost(t)
	work := clone(t, h.URL+"/apps")
	commit(t, work, "a.txt", []byte("a"))
	git(t, work, "push", "-q", "origin", "HEAD:main")
	if _, err := os.Stat(trap); err == nil {
		t.Error("a hook of the user's configuration ran on the server")
	}
}

func TestMissingGitIsAFaultThatInstallsIt(t *testing.T) {
	root := t.TempDir()
	t.Setenv("PATH", t.TempDir())
	_, err := Handler(root, nil)
	f := fault.From(err)
	if f == nil || f.Hop != fault.HopPlatform || f.Fix != "apt-get install git" || !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("Handler = %v, want a platform fault whose fix is apt-get install git", err)
	}
}

func TestInitTwiceKeepsTheRepository(t *testing.T) {
	h := newHost(t)
	work := clone(t, h.URL+"/apps")
	want := commit(t, work, "a.txt", []byte("a"))
	git(t, work, "push", "-q", "origin", "HEAD:main")
	if err := Init(context.Background(), filepath.Join(h.root, "apps.git"), "main"); err != nil {
		t.Fatal(err)
	}
	if got := git(t, filepath.Join(h.root, "apps.git"), "rev-parse", "main"); got != want {
		t.Errorf("main is %s, want %s", got, want)
	}
}
