package cli

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/githost"
	"github.com/sluice-gitops/sluice/internal/githost/gitpush"
	"github.com/sluice-gitops/sluice/internal/source"
)

// overSSH pushes with the key that is given, or with the agent's, and gives the cluster the one, or one of its own. The
// password is the key's passphrase, and with --token-auth what the cluster signs in with over https.
func (g *gitBootstrap) overSSH(u *url.URL, password string) (*where, error) {
	known, err := g.knownHosts(u.String())
	if err != nil {
		return nil, err
	}
	w := &where{remote: gitpush.Remote{URL: u.String(), Auth: source.Auth{KnownHosts: known}, HostKeyAlgorithms: g.hostKeyAlgorithms}}
	var own map[string][]byte // of the Secret, when the cluster gets the key of the file
	if g.privateKeyFile != "" {
		if own, err = g.keyOfFile(&w.remote.Auth, password); err != nil {
			return nil, err
		}
	} else if w.remote.Signers, err = agentKeys(g.streams.Env("SSH_AUTH_SOCK")); err != nil {
		return nil, err
	}
	if g.tokenAuth {
		return w, g.clusterOverHTTPS(w, u, password)
	}
	if w.syncURL, known, err = g.sshForCluster(u, known); err != nil {
		return nil, err
	}
	if own != nil {
		own["known_hosts"] = known
		w.credentials = func(context.Context, map[string][]byte) (map[string][]byte, error) { return own, nil }
		return w, nil
	}
	w.credentials = g.deployKey(w.syncURL, known, func(_ context.Context, public string) error {
		fmt.Fprintf(g.streams.Err, "\n%s\n", public)
		return g.ask("Register this public key as a deploy key of the repository. Is it registered?", "nobody says that the deploy key above is registered, and it is given up",
			"repeat the command with --silent: it leaves a new key in the cluster; register that and run it once more")
	})
	return w, nil
}

// keyOfFile signs in with the key of --private-key-file, and gives it as the Secret's data.
func (b *bootstrapFlags) keyOfFile(auth *source.Auth, passphrase string) (map[string][]byte, error) {
	pem, err := readFlagFile("--private-key-file", b.privateKeyFile)
	if err != nil {
		return nil, err
	}
	signer, err := gitpush.ParseKey(pem, []byte(passphrase))
	if err != nil {
		return nil, err
	}
	auth.Identity, auth.IdentityPassphrase = pem, []byte(passphrase)
	data := map[string][]byte{"identity": pem, "identity.pub": ssh.MarshalAuthorizedKey(signer.PublicKey())}
	if passphrase != "" {
		data["password"] = []byte(passphrase)
	}
	return data, nil
}

// clusterOverHTTPS lets the cluster fetch from the same host and path by https, on its standard port.
func (g *gitBootstrap) clusterOverHTTPS(w *where, u *url.URL, password string) error {
	_, data, err := g.httpAuth(g.username, password, g.bearer)
	if err != nil {
		return err
	}
	other := url.URL{Scheme: "https", Host: u.Hostname(), Path: u.Path}
	w.syncURL = other.String()
	w.credentials = func(context.Context, map[string][]byte) (map[string][]byte, error) { return data, nil }
	return nil
}

// sshForCluster is the URL that the cluster uses, and its host's keys.
func (b *bootstrapFlags) sshForCluster(u *url.URL, known []byte) (string, []byte, error) {
	if b.sshHostname == "" {
		return u.String(), known, nil
	}
	other := *u
	other.Host = b.sshHostname
	known, err := b.knownHosts(other.String())
	return other.String(), known, err
}

// deployKey keeps the key that the cluster's Secret holds for this host, and otherwise makes one, or takes that of
// --private-key-file, and has it registered.
func (b *bootstrapFlags) deployKey(rawURL string, known []byte, register func(ctx context.Context, public string) error) func(context.Context, map[string][]byte) (map[string][]byte, error) {
	return func(ctx context.Context, existing map[string][]byte) (map[string][]byte, error) {
		if b.privateKeyFile != "" { // of a named host; bootstrap git pushes with it
			data, err := b.keyOfFile(&source.Auth{}, b.streams.Env("GIT_PASSWORD"))
			if err != nil {
				return nil, err
			}
			data["known_hosts"] = known
			return data, register(ctx, strings.TrimSpace(string(data["identity.pub"])))
		}
		if len(existing["identity"]) > 0 && gitpush.Knows(existing["known_hosts"], rawURL) {
			say(b.streams, "✔", "the cluster's deploy key is kept")
			return nil, nil
		}
		private, public, err := githost.NewKey(b.key)
		if err != nil {
			return nil, err
		}
		if err := register(ctx, strings.TrimSpace(string(public))); err != nil {
			return nil, err
		}
		return map[string][]byte{"identity": private, "identity.pub": public, "known_hosts": known}, nil
	}
}

// knownHosts gives the lines for the URL's host: from the file, or asked from the host itself once someone vouches.
func (b *bootstrapFlags) knownHosts(rawURL string) ([]byte, error) {
	name := b.knownHostsFile
	if name == "" {
		if home := orElse(b.streams.Env("HOME"), b.streams.Env("USERPROFILE")); home != "" {
			name = filepath.Join(home, ".ssh", "known_hosts")
		}
	}
	data, err := os.ReadFile(name)
	if err != nil && b.knownHostsFile != "" {
		return readFlagFile("--known-hosts-file", name)
	}
	var lines []byte
	for line := range bytes.Lines(data) {
		if gitpush.Knows(line, rawURL) {
			lines = append(append(lines, bytes.TrimSpace(line)...), '\n')
		}
	}
	if len(lines) > 0 {
		return lines, nil
	}
	line, fingerprint, err := gitpush.Scan(rawURL, b.hostKeyAlgorithms)
	if err != nil {
		return nil, err
	}
	host, _, _ := strings.Cut(line, " ")
	say(b.streams, "⚠", "the SSH host %s is not in the known hosts; its key has the fingerprint %s", host, fingerprint)
	err = b.ask("Is that the fingerprint that its owner publishes?", "the SSH host "+host+" is not known",
		"compare "+fingerprint+" with what its owner publishes, then repeat the command with --silent, or name a file with the key: --known-hosts-file FILE")
	return []byte(line), err
}

// agentKeys are what the SSH agent signs with. The connection lasts as long as the process: signing goes through it.
func agentKeys(socket string) ([]ssh.Signer, error) {
	f := &fault.Fault{Code: "SLU-USAGE-064", Hop: fault.HopUsage, Seen: "there is no SSH key to push with", Why: "no --private-key-file, and no SSH agent with a key",
		Fix: `name a key: --private-key-file FILE; or load one: eval "$(ssh-agent)" && ssh-add FILE`}
	if socket == "" {
		return nil, f
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		f.Err = err
		return nil, f
	}
	signers, err := agent.NewClient(conn).Signers()
	if err != nil || len(signers) == 0 {
		f.Err = err
		return nil, f
	}
	return signers, nil
}
