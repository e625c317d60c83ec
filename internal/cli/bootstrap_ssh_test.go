package cli

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/testkit/gitserver"
)

// sshAgent serves a key from memory over a socket, as ssh-agent does, and returns the socket and the public key.
func sshAgent(t *testing.T, key any) (socket string, public []byte) {
	t.Helper()
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	signers, err := ring.Signers()
	if err != nil {
		t.Fatal(err)
	}
	return socket, ssh.MarshalAuthorizedKey(signers[0].PublicKey())
}

// rawKey makes a private key of a kind that `ssh-keygen -t` names.
func rawKey(t *testing.T, kind string) any {
	t.Helper()
	_, pem := gitserver.KeyOf(t, kind, "")
	key, err := ssh.ParseRawPrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestBootstrapGitOverSSHGivesTheClusterTheKeyOfTheFile(t *testing.T) {
	const passphrase = "canary-passphrase-0815"
	r, host := newRoom(t), gitserver.New(t)
	h := host.SSH()
	signer, private := gitserver.KeyOf(t, "ed25519", passphrase)
	if err := h.Allow(ssh.MarshalAuthorizedKey(signer.PublicKey()), true); err != nil {
		t.Fatal(err)
	}
	r.controlled()
	args := []string{"bootstrap", "git", "--url", h.URL, "--known-hosts-file", file(t, h.KnownHosts), "--path", "clusters/one"}
	locked := append(args, "--private-key-file", file(t, private))
	for _, wrong := range []string{"", "wrong"} {
		_, errs, code := r.run(append(locked, "--password", wrong)...)
		if code != 2 {
			t.Errorf("passphrase %q: exit %d: %s", wrong, code, errs)
		}
		tells(t, errs, "passphrase", "--password")
	}
	if told := r.ok(append(locked, "--password", passphrase)...); strings.Contains(told, passphrase) {
		t.Error("the passphrase is told")
	}
	s := r.secret()
	if string(s.Data["identity"]) != string(private) || string(s.Data["password"]) != passphrase || string(s.Data["known_hosts"]) != string(h.KnownHosts) {
		t.Errorf("the Secret holds %d and %d bytes", len(s.Data["identity"]), len(s.Data["known_hosts"]))
	}
	var g sourcev1.GitRepository
	if err := r.client.Get(t.Context(), client.ObjectKey{Namespace: r.namespace, Name: r.namespace}, &g); err != nil {
		t.Fatal(err)
	}
	if g.Spec.URL != h.URL || g.Spec.SecretRef == nil {
		t.Errorf("the sync follows %s with %v", g.Spec.URL, g.Spec.SecretRef)
	}
	_, errs, code := r.run(args...)
	if code != 2 {
		t.Errorf("without a key: exit %d", code)
	}
	tells(t, errs, "--private-key-file", "ssh-add")
}

// With --silent the key that was made stays in the cluster, so that it can be registered afterwards.
func TestASilentBootstrapIsFinishedByASecondOnceTheKeyIsRegistered(t *testing.T) {
	r, host := newRoom(t), gitserver.New(t)
	h := host.SSH()
	signer, private := gitserver.Key(t)
	if err := h.Allow(ssh.MarshalAuthorizedKey(signer.PublicKey()), true); err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParseRawPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	socket, _ := sshAgent(t, key)
	r.controlled()
	run := func(ctx context.Context) (string, int) {
		var out, errs lockedBuffer
		streams := r.streams(&out, &errs)
		streams.Env = func(name string) string { return map[string]string{"SSH_AUTH_SOCK": socket}[name] }
		code := Run(ctx, []string{"bootstrap", "git", "--url", h.URL, "--silent", "--kubeconfig", r.kubeconfig, "-n", r.namespace}, streams)
		return out.String() + errs.String(), code
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // the person, who gives up when the cluster is refused
		defer cancel()
		for ctx.Err() == nil {
			var g sourcev1.GitRepository
			err := r.client.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: r.namespace}, &g)
			if c := apimeta.FindStatusCondition(g.Status.Conditions, meta.ReadyCondition); err == nil && c != nil && c.Status == metav1.ConditionFalse {
				return
			}
		}
	}()
	told, code := run(ctx)
	if code == 0 {
		t.Fatalf("the cluster fetches with an unknown key: %s", told)
	}
	tells(t, told, "its key has the fingerprint "+ssh.FingerprintSHA256(h.HostKey), "✔ committed and pushed")
	public := r.secret().Data["identity.pub"]
	tells(t, told, string(public))
	if err := h.Allow(public, false); err != nil {
		t.Fatal(err)
	}
	if told, code = run(t.Context()); code != 0 {
		t.Fatalf("exit %d: %s", code, told)
	}
	tells(t, told, "deploy key is kept", "no commit", "✔ bootstrap finished")
}

func TestAnAgentThatIsGoneOrEmptyIsNamed(t *testing.T) {
	for _, socket := range []string{"", "/nonexistent/agent"} {
		if _, err := agentKeys(socket); err == nil || !strings.Contains(err.Error(), "SSH key") {
			t.Errorf("%q: %v", socket, err)
		}
	}
}
