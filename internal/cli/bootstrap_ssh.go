package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/githost"
	"github.com/sluice-gitops/sluice/internal/githost/gitpush"
	"github.com/sluice-gitops/sluice/internal/source"
)

// overSSH pushes with the key that is given, or with the agent's, and gives the cluster the one, or one of its own.
func (g *gitBootstrap) overSSH(c *cobra.Command, u *url.URL, passphrase string) (*where, error) {
	known, err := g.knownHosts(u.String())
	if err != nil {
		return nil, err
	}
	syncURL, clusterKnown, err := g.sshForCluster(u, known)
	if err != nil {
		return nil, err
	}
	w := &where{remote: gitpush.Remote{URL: u.String(), Auth: source.Auth{KnownHosts: known}}, syncURL: syncURL}
	if g.privateKeyFile != "" {
		pem, err := readFlagFile("--private-key-file", g.privateKeyFile)
		if err != nil {
			return nil, err
		}
		signer, err := gitpush.ParseKey(pem, []byte(passphrase))
		if err != nil {
			return nil, err
		}
		w.remote.Auth.Identity, w.remote.Auth.IdentityPassphrase = pem, []byte(passphrase)
		data := map[string][]byte{"identity": pem, "identity.pub": ssh.MarshalAuthorizedKey(signer.PublicKey()), "known_hosts": clusterKnown}
		if passphrase != "" {
			data["password"] = []byte(passphrase)
		}
		w.credentials = func(context.Context, map[string][]byte) (map[string][]byte, error) { return data, nil }
		return w, nil
	}
	if w.remote.Signers, err = agentKeys(g.streams.Env("SSH_AUTH_SOCK")); err != nil {
		return nil, err
	}
	w.credentials = g.deployKey(syncURL, clusterKnown, func(_ context.Context, public string) error {
		fmt.Fprintf(g.streams.Err, "\n%s\n", public)
		return g.ask("Register this public key as a deploy key of the repository. Is it registered?", "the deploy key above is not registered yet",
			"register it, then repeat the command with --silent")
	})
	return w, nil
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

// deployKey keeps the key that the cluster's Secret holds for this host, and otherwise makes one and has it registered.
func (b *bootstrapFlags) deployKey(rawURL string, known []byte, register func(ctx context.Context, public string) error) func(context.Context, map[string][]byte) (map[string][]byte, error) {
	return func(ctx context.Context, existing map[string][]byte) (map[string][]byte, error) {
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
		if home := b.streams.Env("HOME"); home != "" {
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
	line, fingerprint, err := gitpush.Scan(rawURL)
	if err != nil {
		return nil, err
	}
	host, _, _ := strings.Cut(line, " ")
	say(b.streams, "⚠", "the SSH host %s is not in the known hosts; its key has the fingerprint %s", host, fingerprint)
	err = b.ask("Is that the fingerprint that its owner publishes?", "the SSH host "+host+" is not known",
		"compare "+fingerprint+" with what its owner publishes, then repeat the command with --silent, or name a file with the key: --known-hosts-file FILE")
	return []byte(line), err
}

// ask puts a question. Without a terminal, and without --silent, the answer is no.
func (b *bootstrapFlags) ask(question, seen, fix string) error {
	if b.silent {
		return nil
	}
	f := &fault.Fault{Code: "SLU-USAGE-063", Hop: fault.HopUsage, Seen: seen, Fix: fix}
	if !isTerminal(b.streams.In) || !isTerminal(b.streams.Err) {
		return f
	}
	fmt.Fprintf(b.streams.Err, "%s [y/N] ", question)
	line, _ := bufio.NewReader(b.streams.In).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); answer == "y" || answer == "yes" {
		return nil
	}
	f.Exit = fault.ExitNo
	return f
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
