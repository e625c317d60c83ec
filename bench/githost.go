package main

import (
	"context"
	"net"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"path/filepath"
	"strings"
)

// gitHost serves bare repositories over smart HTTP on loopback, by git's own http-backend.
type gitHost struct {
	url    string // without a slash at the end
	server *http.Server
}

func startGitHost(ctx context.Context, root string) (*gitHost, error) {
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
	g := &gitHost{url: "http://" + l.Addr().String(), server: &http.Server{Handler: h}}
	go func() { _ = g.server.Serve(l) }() // ends with Close
	return g, nil
}

func (g *gitHost) stop() { _ = g.server.Close() }
