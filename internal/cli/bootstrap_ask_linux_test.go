package cli

import (
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/testkit/gitserver"
	"github.com/sluice-gitops/sluice/internal/testkit/terminal"
)

// typed runs a command at a terminal, with a person who answers. It returns the exit code.
func (r *room) typed(term *terminal.Terminal, env map[string]string, person func(), args ...string) int {
	r.t.Helper()
	done := make(chan int, 1)
	go func() {
		done <- Run(r.t.Context(), append(args, "--kubeconfig", r.kubeconfig, "-n", r.namespace),
			Streams{In: term.Tty, Out: term.Tty, Err: term.Tty, Env: func(name string) string { return env[name] }})
	}()
	person()
	return <-done
}

var publicKey = regexp.MustCompile(`(?m)^ecdsa-sha2-nistp384 \S+`)

func TestBootstrapAsksAboutTheHostAndTheDeployKey(t *testing.T) {
	r, host, term := newRoom(t), gitserver.New(t), terminal.New(t)
	h := host.SSH()
	socket, public := sshAgent(t, rawKey(t, "rsa"))
	if err := h.Allow(public, true); err != nil {
		t.Fatal(err)
	}
	r.controlled()
	env := map[string]string{"SSH_AUTH_SOCK": socket}
	code := r.typed(term, env, func() {
		term.Await(ssh.FingerprintSHA256(h.HostKey))
		term.Await("Is that the fingerprint that its owner publishes? [y/N]")
		term.Type("y")
		term.Await("Is it registered? [y/N]")
		if err := h.Allow([]byte(publicKey.FindString(term.Seen())), false); err != nil {
			t.Error(err)
		}
		term.Type("yes")
	}, "bootstrap", "git", "--url", h.URL, "--path", "clusters/one")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, term.Seen())
	}
	term.Await("✔ bootstrap finished")
	tells(t, term.Seen(), "✔ committed and pushed")
	s := r.secret()
	if string(s.Data["known_hosts"]) != string(h.KnownHosts) || strings.TrimSpace(string(s.Data["identity.pub"])) != publicKey.FindString(term.Seen()) {
		t.Errorf("the Secret holds %s", s.Data["identity.pub"])
	}
	if strings.Contains(term.Seen(), "PRIVATE KEY") {
		t.Error("the private key is told")
	}
}

func TestWhoSaysNoOrCanNotBeAskedChangesNothing(t *testing.T) {
	r, host := newRoom(t), gitserver.New(t)
	h := host.SSH()
	socket, public := sshAgent(t, rawKey(t, "ed25519"))
	if err := h.Allow(public, true); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"SSH_AUTH_SOCK": socket}
	known := []string{"bootstrap", "git", "--url", h.URL, "--known-hosts-file", file(t, h.KnownHosts)}
	unknown := known[:4]
	for question, args := range map[string][]string{"registered? [y/N]": known, "owner publishes? [y/N]": unknown} {
		for _, answer := range []string{"n", "", "maybe"} {
			term := terminal.New(t)
			if code := r.typed(term, env, func() { term.Await(question); term.Type(answer) }, args...); code != 1 {
				t.Errorf("%q to %q: exit %d: %s", answer, question, code, term.Seen())
			}
		}
		var out, errs lockedBuffer
		code := Run(t.Context(), append(args, "--kubeconfig", r.kubeconfig, "-n", r.namespace), Streams{In: strings.NewReader("y\ny\n"), Out: &out, Err: &errs,
			Env: func(name string) string { return env[name] }})
		if code != 2 {
			t.Errorf("without a terminal: exit %d: %s", code, errs.String())
		}
		tells(t, errs.String(), "not terminals", "--silent")
	}
	if refs := host.Git("for-each-ref"); refs != "" {
		t.Errorf("pushed: %s", refs)
	}
	if err := r.client.Get(t.Context(), client.ObjectKey{Namespace: r.namespace, Name: r.namespace}, &corev1.Secret{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the Secret: %v", err)
	}
}

func TestATokenIsTypedUnseenOrPipedIn(t *testing.T) {
	r, host, term := newRoom(t), gitserver.New(t), terminal.New(t)
	api := gitea(t, host, host.SSH())
	api.exists = true
	host.Commit(map[string]string{"README": "x"})
	args := []string{"bootstrap", "gitea", "--hostname", api.address, "--ca-file", file(t, append(api.ca, host.CA...)), "--owner", "team", "--repository", "fleet",
		"--token-auth", "--export"}
	code := r.typed(term, nil, func() { term.Await("Access token for Gitea and Forgejo: "); term.Type(gitserver.Password) }, args...)
	if code != 0 || strings.Contains(term.Seen(), gitserver.Password) {
		t.Errorf("exit %d: %s", code, term.Seen())
	}
	for piped, want := range map[string]int{gitserver.Password + "\n": 0, gitserver.Password: 0, "\n": 2, "": 2} {
		var out, errs lockedBuffer
		code := Run(t.Context(), args, Streams{In: strings.NewReader(piped), Out: &out, Err: &errs, Env: func(string) string { return "" }})
		if code != want || strings.Contains(out.String()+errs.String(), gitserver.Password) {
			t.Errorf("%d bytes piped in: exit %d, want %d: %s", len(piped), code, want, errs.String())
		}
	}
}
