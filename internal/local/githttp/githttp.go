// Package githttp is the local platform's Git host: smart HTTP over the bare repositories in one folder, by the git
// binary. It stands where a Git host stands on the way to a cluster: users push to it, the controller fetches from it.
//
// It has no accounts and is for loopback only: it refuses requests that were addressed to another name, as a web page
// that rebinds its own would send, and requests that a browser made at all. It serves no file that git does not, and no
// repository outside its folder.
package githttp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
	"github.com/sluice-gitops/sluice/internal/local/gitexec"
)

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
)

type server struct {
	root   *os.Root
	path   string
	pushed func(repo string)
}

// Handler serves the bare repositories below root, under their path relative to it; a repository "apps.git" is served
// as /apps.git and as /apps. After a push that changed a reference, and before the pusher is told, pushed is called
// with the repository's path relative to root; it should return soon, and may be nil.
//
// Without a git binary the error is a fault with hop platform.
func Handler(root string, pushed func(repo string)) (http.Handler, error) {
	if _, err := gitexec.Find(); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	dir, err := os.OpenRoot(path)
	if err != nil {
		return nil, &fault.Fault{Code: "SLU-PLATFORM-021", Hop: fault.HopPlatform, Seen: "cannot open the folder of Git repositories",
			Why: err.Error(), Fix: "mkdir -p " + path, Err: err}
	}
	if pushed == nil {
		pushed = func(string) {}
	}
	return &server{root: dir, path: path, pushed: pushed}, nil
}

// Init creates a bare repository that takes pushes over HTTP and whose HEAD is on branch. An existing one is only
// brought into that shape.
func Init(ctx context.Context, dir, branch string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--template=", "."}, // no template: no sample hooks, nothing of the user's
		{"symbolic-ref", "HEAD", "refs/heads/" + branch},
		{"config", "http.receivepack", "true"},
		{"config", "uploadpack.allowReachableSHA1InWant", "true"},
		{"config", "uploadpack.allowTipSHA1InWant", "true"},
		{"config", "uploadpack.allowFilter", "true"},
		{"config", "gc.auto", "0"},
	} {
		if _, err := gitexec.Run(ctx, dir, args...); err != nil {
			return fmt.Errorf("create repository %s: %w", dir, err)
		}
	}
	return nil
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !loopback(r.Host) || r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "" {
		http.Error(w, "this Git server is for local clients", http.StatusForbidden)
		return
	}
	for _, route := range []struct {
		suffix, method string
		serve          func(http.ResponseWriter, *http.Request, string)
	}{
		{"/info/refs", http.MethodGet, s.advertise},
		{"/" + uploadPack, http.MethodPost, s.upload},
		{"/" + receivePack, http.MethodPost, s.receive},
	} {
		name, ok := strings.CutSuffix(r.URL.Path, route.suffix)
		if !ok {
			continue
		}
		repo, found := s.repository(strings.TrimPrefix(name, "/"))
		if !found {
			break
		}
		if r.Method != route.method {
			w.Header().Set("Allow", route.method)
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
		route.serve(w, r, repo)
		return
	}
	http.NotFound(w, r)
}

// loopback reports whether a Host header names this machine to itself.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

var segment = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// repository finds a bare repository by its path in a URL. os.Root keeps symbolic links from leading out.
func (s *server) repository(name string) (string, bool) {
	for part := range strings.SplitSeq(name, "/") {
		if !segment.MatchString(part) {
			return "", false
		}
	}
	for _, repo := range []string{name, name + ".git"} {
		if s.isFile(repo+"/HEAD") && s.isDir(repo+"/objects") && s.isDir(repo+"/refs") {
			return repo, true
		}
	}
	return "", false
}

func (s *server) isFile(name string) bool {
	info, err := s.root.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

func (s *server) isDir(name string) bool {
	info, err := s.root.Stat(name)
	return err == nil && info.IsDir()
}

func (s *server) advertise(w http.ResponseWriter, r *http.Request, repo string) {
	service := r.URL.Query().Get("service")
	if service != uploadPack && service != receivePack {
		http.Error(w, "smart HTTP only: git 1.6.6 or newer", http.StatusForbidden)
		return
	}
	cmd, err := s.command(r, repo, service, "--advertise-refs")
	if err != nil {
		fail(w, err)
		return
	}
	out, err := gitexec.Output(r.Context(), cmd, service)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-"+service+"-advertisement")
	if service == receivePack || !strings.Contains(r.Header.Get("Git-Protocol"), "version=2") {
		line := "# service=" + service + "\n"
		fmt.Fprintf(w, "%04x%s0000", len(line)+4, line)
	}
	_, _ = w.Write(out)
}

func (s *server) upload(w http.ResponseWriter, r *http.Request, repo string) {
	_ = s.converse(w, r, repo, uploadPack)
}

func (s *server) receive(w http.ResponseWriter, r *http.Request, repo string) {
	before, err := s.refs(r.Context(), repo)
	if err != nil {
		fail(w, err)
		return
	}
	if s.converse(w, r, repo, receivePack) != nil {
		return
	}
	// The pusher may be gone by now; what it pushed is not.
	after, err := s.refs(context.WithoutCancel(r.Context()), repo)
	if err == nil && !bytes.Equal(before, after) {
		s.pushed(repo)
	}
}

func (s *server) refs(ctx context.Context, repo string) ([]byte, error) {
	return gitexec.Run(ctx, filepath.Join(s.path, repo), "for-each-ref", "--format=%(objectname) %(refname)")
}

// converse pipes a request's body through the service and its answer back, neither held in memory.
func (s *server) converse(w http.ResponseWriter, r *http.Request, repo, service string) error {
	if r.Header.Get("Content-Type") != "application/x-"+service+"-request" {
		http.Error(w, "unexpected content type", http.StatusUnsupportedMediaType)
		return errors.ErrUnsupported
	}
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzip, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, "body is not gzip", http.StatusBadRequest)
			return err
		}
		body = unzip
	}
	cmd, err := s.command(r, repo, service)
	if err != nil {
		fail(w, err)
		return err
	}
	w.Header().Set("Content-Type", "application/x-"+service+"-result")
	// A client may read the answer's beginning before it has sent all of its request.
	_ = http.NewResponseController(w).EnableFullDuplex()
	cmd.Stdin, cmd.Stdout = body, flushing{w}
	return cmd.Run()
}

// command prepares a service; in the name "git-upload-pack" the dash stands for the space of a subcommand.
func (s *server) command(r *http.Request, repo, service string, flags ...string) (*exec.Cmd, error) {
	args := append([]string{strings.TrimPrefix(service, "git-"), "--stateless-rpc"}, flags...)
	cmd, err := gitexec.Command(r.Context(), filepath.Join(s.path, repo), append(args, ".")...)
	if err != nil {
		return nil, err
	}
	if v := r.Header.Get("Git-Protocol"); protocol.MatchString(v) {
		cmd.Env = append(cmd.Env, "GIT_PROTOCOL="+v)
	}
	return cmd, nil
}

var protocol = lazyregexp.New(`^[a-z0-9=:.-]{1,64}$`)

func fail(w http.ResponseWriter, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		http.Error(w, "repository not found", http.StatusNotFound)
		return
	}
	http.Error(w, "git failed on the server", http.StatusInternalServerError)
}

// flushing sends every write on at once, for progress lines and keep-alives.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}
