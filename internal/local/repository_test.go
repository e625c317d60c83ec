package local

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-gitops/sluice/examples/aks"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/gitexec"
	"github.com/sluice-gitops/sluice/internal/local/state"
	"github.com/sluice-gitops/sluice/internal/onboard"
)

// hosted is emulated with its Azure resources made and the platform's Git server beside it.
func hosted(t *testing.T) *supervisor {
	t.Helper()
	s := emulated(t)
	if _, err := s.provision(t.Context(), event.Start(event.Discard, "azure", "")); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve, err := gitServer(l, s.o.Dir.GitRoot(), func(context.Context) {})
	if err != nil {
		t.Fatal(err)
	}
	s.services.start("git", serve)
	if err := s.rec.Update(func(r *state.Record) { r.Ports.Git = l.Addr().(*net.TCPAddr).Port }); err != nil {
		t.Fatal(err)
	}
	return s
}

// bootstrapped runs the repository step.
func bootstrapped(t *testing.T, s *supervisor) (manifests, string, error) {
	t.Helper()
	return s.repository(t.Context(), event.Start(event.Discard, "repository", ""))
}

// inWork runs git in the working copy.
func inWork(t *testing.T, s *supervisor, args ...string) string {
	t.Helper()
	out, err := gitexec.Run(t.Context(), s.o.Dir.WorkingCopy(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func edit(t *testing.T, s *supervisor, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.o.Dir.WorkingCopy(), name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSampleIsBootstrappedThroughTheGitServerAndOnlyOnce(t *testing.T) {
	s := hosted(t)
	m, _, err := bootstrapped(t, s)
	if err != nil || m.broken != nil || !m.Changed {
		t.Fatalf("%+v, %v", m, err)
	}
	value, err := aks.SecretValue()
	if err != nil {
		t.Fatal(err)
	}
	rec := s.rec.Get()
	err = filepath.WalkDir(s.o.Dir.WorkingCopy(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, never := range []string{value, base64.StdEncoding.EncodeToString([]byte(value)), "REPLACE-WITH", "git.example.com"} {
			if bytes.Contains(data, []byte(never)) && !strings.Contains(path, "/.git/") {
				t.Errorf("%s holds %q", path, never)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"gotk-sync.yaml": repositoryURL(rec.Ports), "patches/kustomize-controller-service-account.yaml": rec.Azure.ClientID} {
		if text := inWork(t, s, "show", "origin/main:gitops/aks/flux-system/"+name); !strings.Contains(text, want) {
			t.Errorf("%s lacks %s:\n%s", name, want, text)
		}
	}
	if at := inWork(t, s, "rev-parse", "HEAD"); at != m.Head.Commit || inWork(t, s, "status", "--porcelain") != "" {
		t.Errorf("the working copy is at %s, the repository at %s", at, m.Head.Commit)
	}
	again, detail, err := bootstrapped(t, s)
	if err != nil || again.Changed || again.Head.Commit != m.Head.Commit || detail != "unchanged" {
		t.Errorf("the second run: %s, %+v, %v", detail, again, err)
	}
}

func TestUpgradeKeepsTheUsersEditsAndRefusesToOverwriteThem(t *testing.T) {
	s := hosted(t)
	first, _, err := bootstrapped(t, s)
	if err != nil {
		t.Fatal(err)
	}
	const components = "gitops/aks/flux-system/gotk-components.yaml"
	edit(t, s, components, "# mine\n")
	edit(t, s, "gitops/aks/apps.yaml", "# mine too\n")
	s.o.Version = "v0.2.0"
	if _, _, err := bootstrapped(t, s); fault.From(err) == nil || fault.From(err).Code != "SLU-PLATFORM-033" || !strings.Contains(err.Error(), components) {
		t.Fatalf("got %v", err)
	}
	if at := inWork(t, s, "ls-remote", "origin", "refs/heads/main"); !strings.HasPrefix(at, first.Head.Commit) {
		t.Errorf("something was pushed: %s", at)
	}
	inWork(t, s, "checkout", "--", components)
	m, detail, err := bootstrapped(t, s)
	if err != nil || !m.Changed || detail != "components and sync brought up to date" {
		t.Fatalf("%s, %v", detail, err)
	}
	if got := inWork(t, s, "status", "--porcelain"); got != "M gitops/aks/apps.yaml" {
		t.Errorf("status: %q", got)
	}
	if at := inWork(t, s, "rev-parse", "HEAD"); at != m.Head.Commit {
		t.Errorf("the working copy is at %s, the repository at %s", at, m.Head.Commit)
	}
}

func TestFolderThatDoesNotBuildLeavesAnInstalledPlatformAsItIs(t *testing.T) {
	s := hosted(t)
	if _, _, err := bootstrapped(t, s); err != nil {
		t.Fatal(err)
	}
	edit(t, s, "gitops/aks/flux-system/patches/kustomize-controller-deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: nosuch\n")
	inWork(t, s, "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qam", "break it")
	inWork(t, s, "push", "-q")
	mine := inWork(t, s, "rev-parse", "HEAD")
	s.o.Version = "v0.2.0"
	m, _, err := bootstrapped(t, s)
	if err != nil || !errors.Is(m.broken, onboard.ErrDoesNotBuild) {
		t.Fatalf("%+v, %v", m, err)
	}
	if at := inWork(t, s, "ls-remote", "origin", "refs/heads/main"); !strings.HasPrefix(at, mine) {
		t.Errorf("something was pushed: %s", at)
	}
	var warned string
	sink := event.SinkFunc(func(e event.Event) { warned += e.Text })
	step := event.Start(event.Discard, "install", "")
	cluster := func(objects ...client.Object) client.Client {
		return fake.NewClientBuilder().WithScheme(onboard.Scheme()).WithObjects(objects...).Build()
	}
	if _, err := m.install(t.Context(), cluster(), step, sink); !errors.Is(err, onboard.ErrDoesNotBuild) || warned != "" {
		t.Errorf("into an empty cluster: %v, %s", err, warned)
	}
	there := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "kustomize-controller"}}
	if n, err := m.install(t.Context(), cluster(there), step, sink); n != 0 || err != nil || !strings.Contains(warned, "the components stay as they are") {
		t.Errorf("over an earlier install: %d, %v, %q", n, err, warned)
	}
}
