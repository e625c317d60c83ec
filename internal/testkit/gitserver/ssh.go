package gitserver

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSH is the host's SSH side.
type SSH struct {
	URL        string // ssh
	KnownHosts []byte
	HostKey    ssh.PublicKey

	mu      sync.Mutex
	allowed map[string]bool // authorized key → may push
}

// SSH starts the SSH side. No key may sign in until it is allowed.
func (s *Server) SSH() *SSH {
	s.t.Helper()
	host, _ := Key(s.t)
	h := &SSH{allowed: map[string]bool{}, HostKey: host.PublicKey()}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		push, ok := h.allowed[string(key.Marshal())]
		if !ok {
			return nil, errors.New("unknown key")
		}
		rights := "read"
		if push {
			rights = "write"
		}
		return &ssh.Permissions{Extensions: map[string]string{"rights": rights}}, nil
	}}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	h.URL = "ssh://git@" + l.Addr().String() + "/" + repository
	h.KnownHosts = []byte(knownhosts.Line([]string{l.Addr().String()}, host.PublicKey()) + "\n")
	root := filepath.Dir(filepath.Dir(s.Bare))
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn, config, root)
		}
	}()
	return h
}

// Allow registers a public key in authorized_keys' format as a deploy key.
func (h *SSH) Allow(authorized []byte, push bool) error {
	key, _, _, _, err := ssh.ParseAuthorizedKey(bytes.TrimSpace(authorized))
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.allowed[string(key.Marshal())] = push
	return nil
}

func serve(conn net.Conn, config *ssh.ServerConfig, root string) {
	defer conn.Close()
	c, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for open := range channels {
		channel, requests, err := open.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				if r.Type != "exec" || len(r.Payload) < 4 {
					_ = r.Reply(false, nil)
					continue
				}
				_ = r.Reply(true, nil)
				status := execute(channel, string(r.Payload[4:]), root, c.Permissions.Extensions["rights"])
				_, _ = channel.SendRequest("exit-status", false, []byte{0, 0, 0, status})
				channel.Close()
			}
		}()
	}
}

// execute obeys "git-upload-pack '<path>'" and "git-receive-pack '<path>'" with root as "/".
func execute(channel ssh.Channel, command, root, rights string) byte {
	service, path, _ := strings.Cut(command, " ")
	if service == "git-receive-pack" && rights != "write" {
		_, _ = io.WriteString(channel.Stderr(), "ERROR: The key you are authenticating with has been marked as read only.\n")
		return 1
	}
	cmd := exec.Command("git", strings.TrimPrefix(service, "git-"), filepath.Join(root, filepath.Clean("/"+strings.Trim(path, "'"))))
	cmd.Env = append(os.Environ(), quiet...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 1
	}
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	go func() { _, _ = io.Copy(stdin, channel); stdin.Close() }()
	if cmd.Run() != nil {
		return 1
	}
	return 0
}

// Key makes an SSH key pair: its signer, and its private half in PEM.
func Key(t testing.TB) (ssh.Signer, []byte) {
	t.Helper()
	return KeyOf(t, "ed25519", "")
}

// KeyOf makes a key pair of a kind, ed25519 or rsa, whose private half a passphrase locks unless it is empty.
func KeyOf(t testing.TB, kind, passphrase string) (ssh.Signer, []byte) {
	t.Helper()
	var private crypto.PrivateKey
	var err error
	if kind == "rsa" {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}
