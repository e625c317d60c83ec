package parity

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/sluice-gitops/sluice/bench/lab"
)

// world is one engine over an API server of its own.
type world struct {
	*lab.Server
	name      string // flux or sluice
	artifacts string // host:port
	mapper    meta.ResettableRESTMapper
}

// worlds are the two engines and what they share.
type worlds struct {
	flux, sluice *world
	root         string // of the Git host: ENGINE/FIXTURE/REPOSITORY.git
	host         *lab.GitHost
	deny         *httptest.Server // a Git host that knows nobody
	identity     *age.X25519Identity
}

// engineFlags are what both engines run with.
var engineFlags = []string{"--concurrent=8", "--requeue-dependency=1s", "--no-cross-namespace-refs=true", "--interval-jitter-percentage=0"}

func startWorlds(t *testing.T) *worlds {
	t.Helper()
	ctx := context.Background()
	id, err := age.GenerateX25519Identity()
	must(t, err)
	w := &worlds{root: t.TempDir(), identity: id}
	w.host, err = lab.StartGitHost(ctx, w.root)
	must(t, err)
	t.Cleanup(w.host.Stop)
	w.deny = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		rw.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(w.deny.Close)
	w.flux = startWorld(t, "flux", moduleDir(t, "kustomize-controller"), moduleDir(t, "source-controller"))
	w.sluice = startWorld(t, "sluice", filepath.Join("..", "..", "internal", "crds", "crds.yaml"))
	return w
}

func startWorld(t *testing.T, name string, crds ...string) *world {
	t.Helper()
	bin, err := filepath.Abs(filepath.Join("..", "bin"))
	must(t, err)
	dir := t.TempDir()
	w := &world{name: name}
	w.Server, err = lab.StartServer(filepath.Join(dir, "server"), filepath.Join(bin, "sluice-cluster"))
	must(t, err)
	t.Cleanup(w.Stop)
	must(t, w.Install(crds...))
	w.artifacts, err = lab.FreeAddress()
	must(t, err)
	p, err := lab.StartPeer(context.Background(), name, lab.Setup{
		Bin: bin, Dir: filepath.Join(dir, "engine"), Kubeconfig: w.Kubeconfig, Storage: w.artifacts, Flags: engineFlags,
	})
	must(t, err)
	t.Cleanup(p.Stop)
	client, err := discovery.NewDiscoveryClientForConfig(w.Config)
	must(t, err)
	w.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client))
	return w
}

// moduleDir is the folder of the CRDs of one of Flux's controllers, in the module cache.
func moduleDir(t *testing.T, controller string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/fluxcd/"+controller).Output()
	must(t, err)
	return filepath.Join(strings.TrimSpace(string(out)), "config", "crd", "bases")
}

// of is the client for an object's kind; ns is for namespaced kinds whose object names none.
func (w *world) of(o *unstructured.Unstructured, ns string) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	m, err := w.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		w.mapper.Reset()
		m, err = w.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, err
	}
	if m.Scope.Name() == meta.RESTScopeNameRoot {
		return w.API.Resource(m.Resource), nil
	}
	if o.GetNamespace() != "" {
		ns = o.GetNamespace()
	}
	return w.API.Resource(m.Resource).Namespace(ns), nil
}

func (w *world) namespace(ctx context.Context, name string) error {
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
	_, err := w.API.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Create(ctx, ns, metav1.CreateOptions{})
	return err
}

func (w *world) String() string { return w.name }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// git runs git in a folder at a fixed time, so that both engines and each run see the same commits.
func git(dir string, clock int, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	when := fmt.Sprintf("%d +0000", 1767225600+clock)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "GIT_AUTHOR_DATE="+when, "GIT_COMMITTER_DATE="+when, "GIT_CONFIG_NOSYSTEM=1", "HOME="+dir,
		"GIT_AUTHOR_NAME=parity", "GIT_AUTHOR_EMAIL=parity@localhost", "GIT_COMMITTER_NAME=parity", "GIT_COMMITTER_EMAIL=parity@localhost")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
