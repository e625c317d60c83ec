package lab

import (
	"context"
	"net"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"path/filepath"
	"strings"
)

// GitHost serves bare repositories over smart HTTP on loopback, by git's own http-backend.
type GitHost struct {
	URL    string // without a slash at the end
	server *http.Server
}

// StartGitHost serves the bare repositories under root.
func StartGitHost(ctx context.Context, root string) (*GitHost, error) {
	out, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
	}
	g := &GitHost{URL: "http://" + l.Addr().String(), server: &http.Server{Handler: h}}
	go func() { _ = g.server.Serve(l) }() // ends with Close
	return g, nil
}

// Stop ends the host.
func (g *GitHost) Stop() { _ = g.server.Close() }
