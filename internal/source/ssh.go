package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"golang.org/x/crypto/ssh"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// sshSession runs git-upload-pack on the remote over one connection. It reads neither ~/.ssh nor an agent: identity and
// known hosts are the Secret's, or there is no connection.
type sshSession struct {
	ep     *endpoint
	config *ssh.ClientConfig

	conn   net.Conn
	client *ssh.Client
	stdin  io.WriteCloser
	stdout io.Reader
	stderr tail
	stop   func() bool // detaches the connection from the context
	asked  bool
}

func newSSHSession(ep *endpoint, auth Auth) (*sshSession, error) {
	if len(auth.Identity) == 0 {
		return nil, authFault("the Secret has no SSH identity", "put the private key under identity, its host's keys under known_hosts, in the Secret that spec.secretRef names", nil)
	}
	if len(bytes.TrimSpace(auth.KnownHosts)) == 0 {
		return nil, authFault("the Secret has no SSH known hosts", fmt.Sprintf("put the output of `%s` under known_hosts in the Secret that spec.secretRef names, after checking its fingerprint", keyscan(ep)), nil)
	}
	signer, err := parseIdentity(auth)
	if err != nil {
		return nil, err
	}
	hosts, err := parseKnownHosts(auth.KnownHosts)
	if err != nil {
		return nil, authFault("the SSH known hosts cannot be parsed", "put `ssh-keyscan` output under known_hosts in the Secret that spec.secretRef names", err)
	}
	user := ep.user
	if user == "" {
		user = "git"
	}
	return &sshSession{ep: ep, config: &ssh.ClientConfig{
		Config:            ssh.Config{KeyExchanges: auth.KexAlgorithms},
		User:              user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyAlgorithms: preferred(auth.HostKeyAlgorithms, hosts.algorithms(ep.address())),
		HostKeyCallback:   hosts.check(ep),
		ClientVersion:     "SSH-2.0-sluice",
	}}, nil
}

// preferred is wanted without what the known hosts cannot answer, known if nothing is wanted. Where nothing is left, the
// wish is kept as it is: the connection then fails, and says why.
func preferred(wanted, known []string) []string {
	if len(wanted) == 0 {
		return known
	}
	var both []string
	for _, a := range wanted {
		if len(known) == 0 || slices.Contains(known, a) {
			both = append(both, a)
		}
	}
	if len(both) == 0 {
		return wanted
	}
	return both
}

// parseIdentity leaves the parser's own errors out of what it returns.
func parseIdentity(auth Auth) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(auth.Identity)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		if len(auth.IdentityPassphrase) == 0 {
			return nil, authFault("the SSH identity is locked by a passphrase", "put the passphrase under password in the Secret that spec.secretRef names", nil)
		}
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(auth.Identity, auth.IdentityPassphrase); err != nil {
			return nil, authFault("the passphrase does not open the SSH identity", "correct password in the Secret that spec.secretRef names", nil)
		}
	}
	if err != nil {
		return nil, authFault("the SSH identity is not a private key", "put a PEM or OpenSSH private key under identity in the Secret that spec.secretRef names", nil)
	}
	return signer, nil
}

func keyscan(ep *endpoint) string {
	if ep.port != "" && ep.port != "22" {
		return fmt.Sprintf("ssh-keyscan -p %s %s", ep.port, ep.host)
	}
	return "ssh-keyscan " + ep.host
}

func (s *sshSession) refs(ctx context.Context) (*packp.AdvRefs, error) {
	if err := s.dial(ctx); err != nil {
		return nil, err
	}
	refs, err := readRefs(s.stdout)
	if errors.Is(err, packp.ErrEmptyInput) || errors.Is(err, io.ErrUnexpectedEOF) {
		if text := s.stderr.settled(); text != "" {
			return nil, &errServer{text: text}
		}
	}
	return refs, err
}

func (s *sshSession) dial(ctx context.Context) error {
	d := net.Dialer{Timeout: 30 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", s.ep.address())
	if err != nil {
		return err
	}
	// A peer that falls silent in the handshake or later is cut off by the context, as nothing in the protocol would.
	s.conn, s.stop = conn, context.AfterFunc(ctx, func() { conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, s.ep.address(), s.config)
	if err != nil {
		return err
	}
	s.client = ssh.NewClient(c, channels, requests)
	run, err := s.client.NewSession()
	if err != nil {
		return err
	}
	s.stderr.done = make(chan struct{})
	stderr, err := run.StderrPipe()
	if err != nil {
		return err
	}
	if s.stdin, err = run.StdinPipe(); err != nil {
		return err
	}
	if s.stdout, err = run.StdoutPipe(); err != nil {
		return err
	}
	go s.stderr.drain(stderr)
	return run.Start(uploadPack + " " + shellQuote(remotePath(s.ep.path)))
}

// remotePath undoes the slash that a URL needs before ~user.
func remotePath(path string) string {
	if strings.HasPrefix(path, "/~") {
		return path[1:]
	}
	return path
}

// shellQuote quotes as git's own sq_quote does; the remote's shell, or git-shell, takes it apart.
func shellQuote(s string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(s) + "'"
}

func (s *sshSession) pack(_ context.Context, req *packp.UploadPackRequest) (io.ReadCloser, error) {
	s.asked = true
	if err := encode(s.stdin, req); err != nil {
		return nil, err
	}
	return io.NopCloser(s.stdout), nil
}

func (s *sshSession) close() {
	if s.stdin != nil {
		if !s.asked {
			_, _ = s.stdin.Write(pktline.FlushPkt) // nothing wanted: the polite way out
		}
		_ = s.stdin.Close()
	}
	if s.stop != nil {
		s.stop()
	}
	if s.client != nil {
		_ = s.client.Close()
	}
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// tail keeps the first words of a remote's standard error.
type tail struct {
	mu   sync.Mutex
	text []byte
	done chan struct{}
}

func (t *tail) drain(r io.Reader) {
	defer close(t.done)
	buf := make([]byte, 1024)
	for {
		n, err := r.Read(buf)
		t.mu.Lock()
		if room := 4096 - len(t.text); room > 0 {
			t.text = append(t.text, buf[:min(n, room)]...)
		}
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// settled waits for the end of the stream, which follows that of standard output, and returns what was said.
func (t *tail) settled() string {
	select {
	case <-t.done:
	case <-time.After(2 * time.Second):
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return quoted(string(t.text))
}

func hostKeyFault(seen, why, fix string) error {
	return &fault.Fault{Code: "SLU-GIT-009", Hop: fault.HopGit, Reason: reasonOperation, Seen: seen, Why: why, Fix: fix}
}
