package source

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/gitexec"
)

// sshHost is an SSH server that runs git-upload-pack on the repositories below root, as a Git host does.
type sshHost struct {
	address  string
	root     string
	keys     []ssh.Signer
	sessions atomic.Int32
}

func newSSHHost(t *testing.T, root string, allowed ssh.PublicKey, keys ...ssh.Signer) *sshHost {
	t.Helper()
	h := &sshHost{root: root, keys: keys}
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || string(key.Marshal()) != string(allowed.Marshal()) {
			return nil, fmt.Errorf("unknown key")
		}
		return nil, nil
	}}
	for _, k := range keys {
		config.AddHostKey(k)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { l.Close() })
	h.address = l.Addr().String()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(t.Context(), conn, config)
		}
	}()
	return h
}

func (h *sshHost) serve(ctx context.Context, conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				if r.Type != "exec" {
					_ = r.Reply(false, nil)
					continue
				}
				_ = r.Reply(true, nil)
				h.sessions.Add(1)
				h.run(ctx, channel, string(r.Payload[4:]))
				channel.Close()
			}
		}()
	}
}

// run obeys "git-upload-pack '<path>'" by way of a shell, as sshd would, with the repository root as "/".
func (h *sshHost) run(ctx context.Context, channel ssh.Channel, command string) {
	path, err := exec.CommandContext(ctx, "sh", "-c", "printf %s "+strings.TrimPrefix(command, "git-upload-pack ")).Output()
	status := byte(1)
	if err == nil {
		cmd, err := gitexec.Command(ctx, h.root, "upload-pack", filepath.Join(h.root, filepath.Clean("/"+string(path))))
		if err == nil {
			stdin, _ := cmd.StdinPipe()
			cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
			go func() { _, _ = io.Copy(stdin, channel); stdin.Close() }()
			if cmd.Run() == nil {
				status = 0
			}
		}
	}
	_, _ = channel.SendRequest("exit-status", false, []byte{0, 0, 0, status})
}

func (h *sshHost) spec(auth Auth) Spec {
	return Spec{URL: "ssh://git@" + h.address + "/apps.git", Branch: "main", Auth: auth}
}

func (h *sshHost) known() []byte {
	var b strings.Builder
	for _, k := range h.keys {
		fmt.Fprintln(&b, knownhosts.Line([]string{h.address}, k.PublicKey()))
	}
	return []byte(b.String())
}

func edKey(t *testing.T, passphrase string) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	check(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	check(t, err)
	return signer, pem.EncodeToMemory(block)
}

func rsaSigner(t *testing.T) ssh.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	check(t, err)
	return signer
}

func TestSSHFetchesAndFollows(t *testing.T) {
	git := newHost(t, nil)
	one := git.commit(t, map[string]string{"f": "one"})
	user, identity := edKey(t, "")
	host, _ := edKey(t, "")
	h := newSSHHost(t, filepath.Dir(git.bare), user.PublicKey(), host)
	m, spec := openMirror(t), h.spec(Auth{Identity: identity, KnownHosts: h.known()})
	rev := fetch(t, m, spec, nil)
	if rev.Name != "main@sha1:"+one || content1(t, rev, "f") != "one" {
		t.Errorf("got %s", rev.Name)
	}
	if n := h.sessions.Load(); n != 1 {
		t.Errorf("the first fetch took %d sessions, want 1", n)
	}
	if again := fetch(t, m, spec, rev); again != rev {
		t.Error("an unchanged remote gave another revision")
	}
	git.commit(t, map[string]string{"f": "two"})
	if next := fetch(t, m, spec, rev); content1(t, next, "f") != "two" {
		t.Error("wrong content")
	}
	spec.Commit = one
	if pinned := fetch(t, openMirror(t), spec, nil); content1(t, pinned, "f") != "one" {
		t.Error("wrong content of the pinned commit")
	}
	fsck(t, m)
}

func TestSSHIdentityWithAPassphrase(t *testing.T) {
	git := newHost(t, nil)
	git.commit(t, map[string]string{"f": "one"})
	user, identity := edKey(t, canary)
	host, _ := edKey(t, "")
	h := newSSHHost(t, filepath.Dir(git.bare), user.PublicKey(), host)
	fetch(t, openMirror(t), h.spec(Auth{Identity: identity, IdentityPassphrase: []byte(canary), KnownHosts: h.known()}), nil)
	for name, auth := range map[string]Auth{
		"no passphrase":    {Identity: identity, KnownHosts: h.known()},
		"wrong passphrase": {Identity: identity, IdentityPassphrase: []byte(canary + "x"), KnownHosts: h.known()},
		"no identity":      {KnownHosts: h.known()},
		"no known hosts":   {Identity: identity, IdentityPassphrase: []byte(canary)},
		"bad identity":     {Identity: []byte(canary), KnownHosts: h.known()},
		"bad known hosts":  {Identity: identity, IdentityPassphrase: []byte(canary), KnownHosts: []byte("nonsense")},
	} {
		f := refused(t, openMirror(t), h.spec(auth), "SLU-GIT-002")
		if f.Reason != "AuthenticationFailed" || strings.Contains(f.Error(), canary) {
			t.Errorf("%s: %v", name, f)
		}
	}
}

func TestSSHHostKeys(t *testing.T) {
	git := newHost(t, nil)
	git.commit(t, map[string]string{"f": "one"})
	user, identity := edKey(t, "")
	ed, _ := edKey(t, "")
	rsa := rsaSigner(t)
	h := newSSHHost(t, filepath.Dir(git.bare), user.PublicKey(), ed, rsa)
	other, _ := edKey(t, "")
	line := func(address string, key ssh.Signer) string {
		return knownhosts.Line([]string{address}, key.PublicKey()) + "\n"
	}
	hash := func(address string, key ssh.Signer) string {
		return knownhosts.HashHostname(knownhosts.Normalize(address)) + " " + string(ssh.MarshalAuthorizedKey(key.PublicKey()))
	}
	_, port, _ := net.SplitHostPort(h.address)
	for _, tt := range []struct {
		name  string
		known string
		says  []string // empty: it works
	}{
		{"first of two keys", line(h.address, ed), nil},
		{"second of two keys", line(h.address, rsa), nil}, // the server prefers the other
		{"hashed", hash(h.address, ed), nil},
		{"wildcard", line("[127.0.0.*]:"+port, ed), nil},
		{"among others", "# comment\n" + line("example.org", other) + line(h.address, ed), nil},
		{"another key beside", line(h.address, other) + line(h.address, ed), nil},
		{"unknown host", line("example.org", ed), []string{"unknown SSH host " + h.address, ssh.FingerprintSHA256(ed.PublicKey()), "ssh-keyscan -p " + port + " 127.0.0.1"}},
		{"changed key", line(h.address, other), []string{h.address, ssh.FingerprintSHA256(other.PublicKey()), "rebuilt"}},
		{"negated", line("[127.0.0.*]:"+port+",!"+"[127.0.0.1]:"+port, ed), []string{"unknown SSH host"}},
		{"revoked", "@revoked " + line(h.address, ed), []string{"revoked"}},
		{"authority only", "@cert-authority " + line(h.address, ed) + line("example.org", other), []string{"unknown SSH host"}},
		{"port missing", line("127.0.0.1", ed), []string{"unknown SSH host"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := h.spec(Auth{Identity: identity, KnownHosts: []byte(tt.known)})
			if tt.says == nil {
				fetch(t, openMirror(t), spec, nil)
				return
			}
			f := refused(t, openMirror(t), spec, "SLU-GIT-009")
			contains(t, f.Error(), tt.says...)
		})
	}
}

func TestSSHIdentityThatIsNotRegistered(t *testing.T) {
	git := newHost(t, nil)
	user, _ := edKey(t, "")
	_, identity := edKey(t, "")
	host, _ := edKey(t, "")
	h := newSSHHost(t, filepath.Dir(git.bare), user.PublicKey(), host)
	f := refused(t, openMirror(t), h.spec(Auth{Identity: identity, KnownHosts: h.known()}), "SLU-GIT-004")
	contains(t, f.Error(), "deploy key")
}

func TestSSHRepositoryThatIsNotThere(t *testing.T) {
	git := newHost(t, nil)
	user, identity := edKey(t, "")
	host, _ := edKey(t, "")
	h := newSSHHost(t, filepath.Dir(git.bare), user.PublicKey(), host)
	for _, path := range []string{"/none.git", "/it's!here.git", "/$(touch ran).git", "/;touch ran"} {
		spec := h.spec(Auth{Identity: identity, KnownHosts: h.known()})
		spec.URL = "ssh://git@" + h.address + strings.NewReplacer(" ", "%20", "'", "%27").Replace(path)
		f := refused(t, openMirror(t), spec, "SLU-GIT-003")
		contains(t, f.Error(), "not found")
		if _, err := os.Stat(filepath.Join(h.root, "ran")); err == nil {
			t.Fatalf("%s ran on the server", path)
		}
	}
}

func TestSSHServerThatFallsSilentIsCutOff(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	_, identity := edKey(t, "")
	host, _ := edKey(t, "")
	h := &sshHost{address: l.Addr().String(), keys: []ssh.Signer{host}}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = openMirror(t).Fetch(ctx, h.spec(Auth{Identity: identity, KnownHosts: h.known()}), nil)
	if f := fault.From(err); f == nil || f.Code != "SLU-GIT-008" {
		t.Errorf("Fetch = %v, want a timeout fault", err)
	}
}
