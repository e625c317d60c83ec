package gitpush

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// sshAuth is how go-git is given keys and known hosts. It reads neither ~/.ssh nor the environment.
type sshAuth struct{ config *ssh.ClientConfig }

func (a *sshAuth) Name() string                             { return "ssh" }
func (a *sshAuth) String() string                           { return "user: " + a.config.User }
func (a *sshAuth) ClientConfig() (*ssh.ClientConfig, error) { return a.config, nil }

func (r Remote) sshAuth(ep *transport.Endpoint) (transport.AuthMethod, error) {
	signers := r.Signers
	if len(r.Auth.Identity) > 0 {
		signer, err := ParseKey(r.Auth.Identity, r.Auth.IdentityPassphrase)
		if err != nil {
			return nil, err
		}
		signers = []ssh.Signer{signer}
	}
	if len(signers) == 0 {
		return nil, usage("there is no SSH key to sign in with", "name one with --private-key-file FILE, or start an agent: eval \"$(ssh-agent)\" && ssh-add")
	}
	check, err := hostKeys(r.Auth.KnownHosts)
	if err != nil {
		return nil, err
	}
	user := ep.User
	if user == "" {
		user = "git"
	}
	kinds := r.HostKeyAlgorithms
	if len(kinds) == 0 {
		kinds = algorithms(check, sshAddress(ep))
	}
	return &sshAuth{&ssh.ClientConfig{
		User:              user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signers...)},
		HostKeyCallback:   check,
		HostKeyAlgorithms: kinds,
		ClientVersion:     "SSH-2.0-sluice",
		Timeout:           30 * time.Second,
	}}, nil
}

// ParseKey reads a private key in PEM. The parser's own errors are left out: they may quote it.
func ParseKey(pem, passphrase []byte) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(pem)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		if len(passphrase) == 0 {
			return nil, usage("the SSH key is locked by a passphrase", "give it with --password")
		}
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(pem, passphrase); err != nil {
			return nil, usage("the passphrase does not open the SSH key", "give the right one with --password")
		}
	}
	if err != nil {
		return nil, usage("the SSH key is not a private key", "name a PEM or OpenSSH private key: --private-key-file FILE")
	}
	return signer, nil
}

func sshAddress(ep *transport.Endpoint) string {
	port := ep.Port
	if port <= 0 {
		port = 22
	}
	return net.JoinHostPort(ep.Host, strconv.Itoa(port))
}

// hostKeys parses known_hosts. The library reads files alone; what stands in this one is public.
func hostKeys(known []byte) (ssh.HostKeyCallback, error) {
	if len(bytes.TrimSpace(known)) == 0 {
		return nil, usage("there are no known hosts for the SSH remote", "name a file with its host key: --known-hosts-file FILE")
	}
	f, err := os.CreateTemp("", "known_hosts")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(known)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	check, err := knownhosts.New(f.Name())
	if err != nil {
		return nil, usage("the known hosts can't be read", "name a file as ssh-keyscan writes it: --known-hosts-file FILE")
	}
	return check, nil
}

// algorithms asks the known hosts with a key that nobody has which ones they would take: without that, a host with
// several keys may offer one that isn't listed.
func algorithms(check ssh.HostKeyCallback, address string) []string {
	nobody, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		return nil
	}
	var unknown *knownhosts.KeyError
	if !errors.As(check(address, &net.TCPAddr{}, nobody), &unknown) {
		return nil
	}
	var names []string
	for _, k := range unknown.Want {
		if t := k.Key.Type(); t == ssh.KeyAlgoRSA {
			names = append(names, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			names = append(names, t)
		}
	}
	return names
}

// Knows tells whether known_hosts has a key for the remote's host.
func Knows(known []byte, rawURL string) bool {
	ep, err := transport.NewEndpoint(rawURL)
	if err != nil {
		return false
	}
	check, err := hostKeys(known)
	return err == nil && len(algorithms(check, sshAddress(ep))) > 0
}

// Scan asks the remote's host for its key and returns it as a line of known_hosts, and its fingerprint. Nothing vouches
// for the answer: who uses it trusts this network, once. algorithms are the kinds of keys to ask for, all if empty.
func Scan(rawURL string, algorithms []string) (line, fingerprint string, err error) {
	ep, err := transport.NewEndpoint(rawURL)
	if err != nil {
		return "", "", usage("the URL can't be read", "give an ssh:// address")
	}
	seen := errors.New("seen")
	address := sshAddress(ep)
	client, err := ssh.Dial("tcp", address, &ssh.ClientConfig{User: "git", Timeout: 15 * time.Second, ClientVersion: "SSH-2.0-sluice", HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			line, fingerprint = knownhosts.Line([]string{address}, key)+"\n", ssh.FingerprintSHA256(key)
			return seen
		}})
	if err == nil {
		_ = client.Close()
	}
	if line == "" {
		return "", "", gitFault("SLU-GIT-040", "the SSH host "+address+" shows no key", "", "check the address with: ssh-keyscan -p "+strconv.Itoa(max(ep.Port, 22))+" "+ep.Host, err)
	}
	return line, fingerprint, nil
}
