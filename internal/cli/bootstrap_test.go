package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/reconcile"
	"github.com/sluice-gitops/sluice/internal/testkit"
	"github.com/sluice-gitops/sluice/internal/testkit/gitserver"
)

// controlled runs the controller in the room until the test ends.
func (r *room) controlled() {
	r.t.Helper()
	env := testkit.Cluster(r.t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- reconcile.Run(ctx, reconcile.Options{Config: env.Config, Namespace: r.namespace, StoragePath: r.t.TempDir(), Concurrent: 2,
			Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	}()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("the controller: %v", err)
		}
	})
}

func file(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// ok runs a command that must succeed and gives what it told.
func (r *room) ok(args ...string) string {
	r.t.Helper()
	out, errs, code := r.run(args...)
	if code != 0 {
		r.t.Fatalf("exit %d: %s", code, errs)
	}
	if strings.Contains(out+errs, gitserver.Password) {
		r.t.Errorf("the password is told:\n%s%s", out, errs)
	}
	return out + errs
}

// secret is the cluster's Git credentials.
func (r *room) secret() *corev1.Secret {
	r.t.Helper()
	var s corev1.Secret
	if err := r.client.Get(r.t.Context(), client.ObjectKey{Namespace: r.namespace, Name: r.namespace}, &s); err != nil {
		r.t.Fatal(err)
	}
	return &s
}

func tells(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is missing in\n%s", w, text)
		}
	}
}

func TestBootstrapGitOverHTTPS(t *testing.T) {
	r, host := newRoom(t), gitserver.New(t)
	r.controlled()
	args := []string{"bootstrap", "git", "--url", host.URL, "--username", gitserver.User, "--password", gitserver.Password, "--ca-file", file(t, host.CA),
		"--path", "./gitops/aks", "--commit-message-appendix", "[ci skip]", "--author-name", "Ada", "--author-email", "ada@example.com",
		"--azure-client-id", "11111111-aaaa-4444-8888-000000000001", "--azure-tenant-id", "22222222-bbbb-4444-8888-000000000002"}
	tells(t, r.ok(append(args, "--export")...), "# File: gitops/aks/flux-system/gotk-sync.yaml", "azure.workload.identity/client-id: 11111111-aaaa")
	if refs := host.Git("for-each-ref"); refs != "" {
		t.Fatalf("--export pushed: %s", refs)
	}
	tells(t, r.ok(args...), "✔ committed and pushed", "✔ bootstrap finished")
	tells(t, host.Git("log", "-1", "--format=%an <%ae>%n%B"), "Ada <ada@example.com>", "for ./gitops/aks", "[ci skip]")
	tells(t, r.ok(args...), "no commit", "✔ bootstrap finished")
	if out := r.ok(append(args, "--export")...); strings.TrimSpace(out) != "" {
		t.Errorf("--export of an up-to-date repository prints\n%s", out)
	}
}

func TestBootstrapGitWithABearerToken(t *testing.T) {
	r, host := newRoom(t), gitserver.New(t)
	r.controlled()
	tells(t, r.ok("bootstrap", "git", "--url", host.URL, "--with-bearer-token", "--password", gitserver.Password, "--ca-file", file(t, host.CA)), "✔ bootstrap finished")
	if d := r.secret().Data; string(d["bearerToken"]) != gitserver.Password || len(d["password"]) > 0 || string(d["ca.crt"]) != string(host.CA) {
		t.Errorf("the Secret has %d entries", len(d))
	}
}

func TestBootstrapRefusesWhatItCannotDo(t *testing.T) {
	r := newRoom(t)
	for name, tt := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no URL":             {nil, 2, "--url"},
		"scp's short form":   {[]string{"--url", "git@host:a/b"}, 2, "ssh://"},
		"password in URL":    {[]string{"--url", "https://u:secret0815@host/a"}, 2, "--password"},
		"http":               {[]string{"--url", "http://127.0.0.1:1/a"}, 2, "--allow-insecure-http"},
		"half an identity":   {[]string{"--url", "https://127.0.0.1:1/a", "--azure-client-id", "x"}, 2, "--azure-tenant-id"},
		"nobody there":       {[]string{"--url", "https://127.0.0.1:1/a"}, 5, "git ls-remote"},
		"key without ring":   {[]string{"--url", "https://127.0.0.1:1/a", "--gpg-key-id", "x"}, 2, "--gpg-key-ring"},
		"missing key ring":   {[]string{"--url", "https://127.0.0.1:1/a", "--gpg-key-ring", "/nonexistent"}, 2, "--gpg-key-ring"},
		"unknown SSH host":   {[]string{"--url", gitserver.New(t).SSH().URL}, 2, "--known-hosts-file"},
		"identity, no group": {[]string{"--url", "https://127.0.0.1:1/a", "--identity", "x"}, 2, "--resource-group"},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs, code := r.run(append([]string{"bootstrap", "git"}, tt.args...)...)
			if code != tt.code {
				t.Errorf("exit %d, want %d: %s", code, tt.code, errs)
			}
			tells(t, errs, tt.says)
			if strings.Contains(errs, "secret0815") {
				t.Errorf("the password is told: %s", errs)
			}
		})
	}
}
