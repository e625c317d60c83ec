package render

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

// FuzzWalk renders arbitrary kustomizations. Whatever they say, the walk leaves nothing for kustomize to fetch, lets no
// reference out of the tree, and every failure is a fault.
func FuzzWalk(f *testing.F) {
	seeds := 0
	add := func(kustomization, other string) {
		f.Add(kustomization, other)
		seeds++
	}
	for _, field := range fetching {
		add(strings.ReplaceAll(field, "%s", "http://127.0.0.1:1/x"), "resources: [a.yaml]\n")
		add("resources: [../b]\n", strings.ReplaceAll(field, "%s", "git@127.0.0.1:1/x/y"))
	}
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, m := range a.Files {
			if isKustomizationName(filepath.Base(m.Name)) {
				add(string(m.Data), "namePrefix: x-\n")
			}
		}
	}
	if seeds < 50 {
		f.Fatalf("only %d seeds", seeds)
	}
	f.Setenv("PATH", f.TempDir()) // no git
	f.Fuzz(func(t *testing.T, kustomization, other string) {
		tree := source.MapTree(map[string]string{
			"a/kustomization.yaml": kustomization, "a/a.yaml": configMap, "a/x.env": "A=b\n", "a/schema.json": "{}",
			"b/kustomization.yaml": other, "b/a.yaml": configMap, "b/p.yaml": "- {op: add, path: /x, value: y}\n",
		})
		r := &renderer{req: Request{Tree: tree, Path: "a"}, rec: newRecorder(tree), root: "a"}
		r.fs = newFileSystem(context.Background(), r.rec)
		r.fs.overlay["a/kustomization.yaml"] = []byte(kustomization)
		if refs, err := walk(r.fs, "a"); err == nil {
			for _, ref := range refs.files {
				if ref.path != clamp(ref.path) {
					t.Errorf("reference %q leaves the tree", ref.path)
				}
			}
		} else if fault.From(err) == nil {
			t.Errorf("not a fault: %v", err)
		}
		_, err := Render(context.Background(), Request{Tree: tree, Path: "a"})
		if err == nil {
			return
		}
		if fault.From(err) == nil {
			t.Errorf("not a fault: %v", err)
		}
		for _, sign := range []string{errRemote.Error(), "no 'git' program", "executable file not found", "not checked for remote"} {
			if strings.Contains(err.Error(), sign) && fault.From(err).Code != "SLU-RENDER-004" {
				t.Errorf("the walk let a remote reference pass: %v", err)
			}
		}
	})
}

func TestClampKeepsThePathInTheTree(t *testing.T) {
	for in, want := range map[string]string{
		"": ".", ".": ".", "./": ".", "/": ".", "..": ".", "../x": "x", "./a/b/": "a/b", "/a": "a", "a/../../b": "b", "a//b": "a/b",
	} {
		if got := clamp(in); got != want {
			t.Errorf("clamp(%q) = %q, want %q", in, got, want)
		}
	}
}
