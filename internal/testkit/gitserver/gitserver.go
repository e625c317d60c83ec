// Package gitserver is a Git host for tests: one bare repository behind git's own http-backend over TLS with basic
// authentication, and behind an SSH server with host keys and deploy keys. Hooks run in it, unlike in the local
// platform's server, so a branch can be protected and a race can be staged.
//
// It refuses to fake anything of Git: upload-pack and receive-pack are git's. Only tests import it.
package gitserver

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// User and Password are what the https side wants.
const (
	User     = "git-user"
	Password = "canary-password-0815"
)

// Server is one running host with one repository, team/fleet.git.
type Server struct {
	URL  string // https
	CA   []byte // PEM of the certificate's authority
	Bare string // the repository's folder

	t        testing.TB
	mu       sync.Mutex
	readOnly bool
	users    map[string]bool
}

const repository = "team/fleet.git"

// New starts a host whose repository is empty and has HEAD on main.
func New(t testing.TB) *Server {
	t.Helper()
	root := t.TempDir()
	s := &Server{Bare: filepath.Join(root, filepath.FromSlash(repository)), t: t, users: map[string]bool{User: true, "git": true}}
	s.run("", "init", "--quiet", "--bare", "--initial-branch=main", s.Bare)
	for _, c := range []string{"http.receivepack=true", "uploadpack.allowReachableSHA1InWant=true", "gc.auto=0", "receive.autogc=false"} {
		key, value, _ := strings.Cut(c, "=")
		s.run(s.Bare, "config", key, value)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(s.run("", "--exec-path")), "git-http-backend"),
		Root: "/", Stderr: io.Discard,
		Env: append([]string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=" + User, "PATH=" + os.Getenv("PATH")}, quiet...),
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.knows(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		s.mu.Lock()
		readOnly := s.readOnly
		s.mu.Unlock()
		if readOnly && strings.Contains(r.URL.Path+r.URL.RawQuery, "receive-pack") {
			http.Error(w, "read only", http.StatusForbidden)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL + "/" + repository
	s.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return s
}

// knows tells whether a request is signed in: by user and password, or with the password as bearer token.
func (s *Server) knows(r *http.Request) bool {
	if r.Header.Get("Authorization") == "Bearer "+Password {
		return true
	}
	user, pass, ok := r.BasicAuth()
	s.mu.Lock()
	defer s.mu.Unlock()
	return ok && s.users[user] && pass == Password
}

// Admit lets a further user in, with the same password.
func (s *Server) Admit(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[user] = true
}

// ReadOnly makes the https side refuse pushes as a host does whose token lacks write access: HTTP 403.
func (s *Server) ReadOnly() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readOnly = true
}

// Hook installs a server-side hook, a shell script.
func (s *Server) Hook(name, script string) {
	s.t.Helper()
	file := filepath.Join(s.Bare, "hooks", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		s.t.Fatal(err)
	}
}

// Commit puts files on top of main as another user would, beside every protection, and returns the commit.
func (s *Server) Commit(files map[string]string) string {
	s.t.Helper()
	work := filepath.Join(s.t.TempDir(), "work")
	s.run("", "clone", "--quiet", s.Bare, work)
	s.run(work, "symbolic-ref", "HEAD", "refs/heads/main")
	for name, data := range files {
		file := filepath.Join(work, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	s.run(work, "add", "-A")
	s.run(work, "commit", "--quiet", "--allow-empty", "-m", "by another user")
	s.run(s.Bare, "fetch", "--quiet", work, "+HEAD:refs/heads/main")
	return s.Git("rev-parse", "main")
}

// Git runs a git command in the repository and returns what it printed.
func (s *Server) Git(args ...string) string {
	s.t.Helper()
	return strings.TrimSpace(s.run(s.Bare, args...))
}

// quiet keeps the machine's own configuration out.
var quiet = []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=/nonexistent",
	"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com"}

func (s *Server) run(dir string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), quiet...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}
