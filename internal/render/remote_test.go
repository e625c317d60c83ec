package render

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	kustypes "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"

// canary is an HTTP server that counts connections, and a git on the PATH that leaves a mark when it is run.
type canary struct {
	url   string
	dials *atomic.Int32
	mark  string
}

func newCanary(t *testing.T) canary {
	t.Helper()
	c := canary{dials: &atomic.Int32{}}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, configMap)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			c.dials.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c.url = s.URL

	bin := t.TempDir()
	c.mark = filepath.Join(bin, "was-run")
	script := "#!/bin/sh\necho \"$@\" >> " + c.mark + "\nexit 1\n"
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("TMPDIR", bin) // where kustomize would clone to
	return c
}

func (c canary) check(t *testing.T) {
	t.Helper()
	if n := c.dials.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
	if b, err := os.ReadFile(c.mark); err == nil {
		t.Errorf("git was run: %s", b)
	}
}

// every field of a kustomization that can fetch, with %s where the reference stands.
var fetching = map[string]string{
	"resources":                 "resources: ['%s']\n",
	"bases":                     "bases: ['%s']\n",
	"components":                "components: ['%s']\n",
	"crds":                      "crds: ['%s']\n",
	"configurations":            "configurations: ['%s']\n",
	"openapi":                   "openapi: {path: '%s'}\n",
	"configMapGenerator files":  "configMapGenerator: [{name: c, files: ['%s']}]\n",
	"configMapGenerator keys":   "configMapGenerator: [{name: c, files: ['k=%s']}]\n",
	"configMapGenerator envs":   "configMapGenerator: [{name: c, envs: ['%s']}]\n",
	"configMapGenerator env":    "configMapGenerator: [{name: c, env: '%s'}]\n",
	"secretGenerator files":     "secretGenerator: [{name: c, files: ['%s']}]\n",
	"secretGenerator envs":      "secretGenerator: [{name: c, envs: ['%s']}]\n",
	"patches":                   "patches: [{path: '%s'}]\n",
	"patchesStrategicMerge":     "patchesStrategicMerge: ['%s']\n",
	"patchesJson6902":           "patchesJson6902: [{target: {version: v1, kind: ConfigMap, name: a}, path: '%s'}]\n",
	"replacements":              "replacements: [{path: '%s'}]\n",
	"generators":                "generators: ['%s']\n",
	"transformers":              "transformers: ['%s']\n",
	"validators":                "validators: ['%s']\n",
	"generator, inline":         "generators:\n- |-\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  metadata: {name: g}\n  FILES: ['k=%s']\n",
	"transformer, inline":       "transformers:\n- |-\n  apiVersion: builtin\n  kind: PatchTransformer\n  metadata: {name: g}\n  path: '%s'\n",
	"replacement plugin":        "transformers:\n- |-\n  apiVersion: builtin\n  kind: ReplacementTransformer\n  metadata: {name: g}\n  replacements: [{path: '%s'}]\n",
	"value plugin":              "transformers:\n- |-\n  apiVersion: builtin\n  kind: ValueAddTransformer\n  metadata: {name: g}\n  targetFilePath: '%s'\n",
	"strategic merge plugin":    "transformers:\n- |-\n  apiVersion: builtin\n  kind: PatchStrategicMergeTransformer\n  metadata: {name: g}\n  paths: ['%s']\n",
	"transformer in a base":     "transformers: [t]\n",
	"transformer in a file":     "transformers: [t/t.yaml]\n",
	"resource that is no base":  "resources: ['%s//base?ref=main']\n",
	"inline that is also a URL": "patchesStrategicMerge: ['%s: {kind: x}']\n",
}

func TestNoFieldFetches(t *testing.T) {
	c := newCanary(t)
	for name, field := range fetching {
		t.Run(name, func(t *testing.T) {
			for _, where := range []string{"top", "base"} {
				kustomization := strings.ReplaceAll(field, "%s", c.url+"/x.yaml")
				files := map[string]string{
					"a.yaml": configMap, "top/t/kustomization.yaml": "resources: [t.yaml]\n",
					"base/t/kustomization.yaml": "resources: [t.yaml]\n", "top/kustomization.yaml": "resources: [../base]\n",
				}
				for _, dir := range []string{"top", "base"} {
					files[dir+"/t/t.yaml"] = "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: g}\npath: " + c.url + "\n"
				}
				files[where+"/kustomization.yaml"] = kustomization + map[bool]string{true: "", false: "resources: [../a.yaml]\n"}[strings.Contains(kustomization, "resources:")]
				_, err := Render(context.Background(), Request{Tree: source.MapTree(files), Path: "top"})
				f := fault.From(err)
				if f == nil || f.Code != "SLU-RENDER-004" || !strings.HasPrefix(f.File, where+"/") || f.Reason != "BuildFailed" {
					t.Errorf("in %s: %+v, want a refusal that names the file", where, err)
				}
			}
		})
	}
	c.check(t)
}

// What the walk misses may be fetched, so every form in which kustomize takes a name for a git repository must be known.
func TestNoReferenceRunsGit(t *testing.T) {
	c := newCanary(t)
	host := strings.TrimPrefix(c.url, "http://")
	remote := []string{
		"https://" + host + "/org/repo", "HTTPS://" + host + "/org/repo.git", "git::https://" + host + "/org/repo",
		"GIT::git@" + host + ":org/repo", "git@" + host + ":org/repo", "git@" + host + "/org/repo", "user@host:a/b",
		"github.com/org/repo", "GitHub.com/org/repo/path?ref=x", "github.com:org/repo", "git@github.com:org/repo",
		"ssh://git@" + host + "/org/repo", "file:///tmp/repo", "FILE://" + c.mark, "org-1@github.com/org/repo//base",
		"a@b/c.git", "a@b:c//d", "github.com/_git/x", "u@h/_git/x", "file://x",
	}
	for _, ref := range remote {
		for _, field := range []string{"resources", "components", "transformers"} {
			files := map[string]string{"kustomization.yaml": fmt.Sprintf("%s: ['%s']\n", field, ref)}
			if !strings.Contains(ref, "//") && !strings.Contains(ref, ":") && !strings.Contains(ref, "?") {
				files[ref] = "{malformed" // a file of that name makes kustomize try it as a base
			}
			_, err := Render(context.Background(), Request{Tree: source.MapTree(files)})
			if f := fault.From(err); f == nil || f.Code != "SLU-RENDER-004" {
				t.Errorf("%s: %s: %v", field, ref, err)
			}
		}
	}
	local := []string{
		"a@b.yaml", "github.com/file.yaml", "team@prod/x.yaml", "https.yaml", "http/x.yaml", "git/x.yaml", "x?ref=y.yaml",
		"a=b.yaml", "repo.git.yaml", "a:b.yaml", "with space.yaml", "é.yaml", "1@b/c/d.yaml", "_git/x/y.yaml",
	}
	for _, ref := range local {
		for _, content := range []string{configMap, "{malformed"} {
			files := map[string]string{"kustomization.yaml": fmt.Sprintf("resources: ['%s']\n", ref), ref: content}
			_, err := Render(context.Background(), Request{Tree: source.MapTree(files)})
			if f := fault.From(err); f != nil && f.Code == "SLU-RENDER-004" {
				t.Errorf("%s: %v", ref, err)
			}
		}
	}
	c.check(t)
}

func TestSpecComponentsAreLocal(t *testing.T) {
	c := newCanary(t)
	for _, ref := range []string{c.url + "/x", "github.com/org/repo", "/abs", "git::x"} {
		_, req := load(t, "testdata/components.txtar")
		req.Kustomization.Spec.Components = []string{ref}
		_, err := Render(context.Background(), req)
		if f := fault.From(err); f == nil || f.Code != "SLU-RENDER-004" {
			t.Errorf("%s: %v", ref, err)
		}
	}
	c.check(t)
}

// A configuration that a build puts together is beyond the walk; the transport refuses it.
func TestKustomizeCannotDialEvenUnseen(t *testing.T) {
	c := newCanary(t)
	resp, err := http.Get(c.url)
	if err != nil {
		t.Fatalf("http.DefaultTransport no longer works for others: %v", err)
	}
	resp.Body.Close()
	if c.dials.Swap(0) != 1 {
		t.Fatal("the canary does not count")
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()

	_, err = Render(context.Background(), Request{Tree: source.MapTree(map[string]string{
		"kustomization.yaml": "resources: [a.yaml]\ntransformers: [t]\n", "a.yaml": configMap,
		"t/kustomization.yaml": "resources: [t.yaml]\npatches:\n- target: {kind: PatchTransformer}\n  patch: '[{\"op\": \"add\", \"path\": \"/path\", \"value\": \"" + c.url + "\"}]'\n",
		"t/t.yaml":             "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: g}\n",
	})})
	if f := fault.From(err); f == nil || !strings.Contains(f.Why, errRemote.Error()) {
		t.Errorf("got %v", err)
	}

	fs := filesys.MakeFsInMemory()
	_ = fs.WriteFile("/kustomization.yaml", []byte("resources: ['"+c.url+"/x.yaml']\n"))
	if _, err := krusty.MakeKustomizer(&krusty.Options{PluginConfig: kustypes.DisabledPluginConfig()}).Run(fs, "/"); err == nil {
		t.Error("kustomize fetched")
	}
	if n := c.dials.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

func TestUnvettedKustomizationIsWithheld(t *testing.T) {
	tree := source.MapTree(map[string]string{"a/kustomization.yaml": "resources: []\n", "b/kustomization.yaml": "x: y\n"})
	fs := newFileSystem(context.Background(), newRecorder(tree))
	fs.vetted = (&references{dirs: map[string]bool{"a": true}}).vetted
	if _, err := fs.ReadFile(mount + "/a/kustomization.yaml"); err != nil {
		t.Error(err)
	}
	if _, err := fs.ReadFile(mount + "/b/kustomization.yaml"); err == nil || fs.err == nil {
		t.Error("a kustomization that the walk did not judge was given out")
	}
}
