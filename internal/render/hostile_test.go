package render

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

// aliasBomb is YAML whose aliases stand for ten to the power of levels values.
func aliasBomb(levels int) string {
	b := "x0: &x0 [y, y, y, y, y, y, y, y, y, y]\n"
	for i := range levels - 1 {
		b += fmt.Sprintf("x%d: &x%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d, ", i), 10), ", "))
	}
	return b
}

func TestBombsAreRefusedWithoutBeingUnfolded(t *testing.T) {
	bomb := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n" + aliasBomb(9)
	for name, files := range map[string]map[string]string{
		"manifest":      {"a/kustomization.yaml": "resources: [b.yaml]\n", "a/b.yaml": bomb},
		"generated":     {"a/b.yaml": bomb},
		"kustomization": {"a/kustomization.yaml": "resources: [c.yaml]\n" + aliasBomb(9), "a/c.yaml": configMap},
		"patch":         {"a/kustomization.yaml": "resources: [c.yaml]\npatches: [{path: b.yaml}]\n", "a/c.yaml": configMap, "a/b.yaml": bomb},
		"transformer":   {"a/kustomization.yaml": "resources: [c.yaml]\ntransformers: [b.yaml]\n", "a/c.yaml": configMap, "a/b.yaml": bomb},
		"deep":          {"a/b.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: " + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := Render(ctx, Request{Tree: source.MapTree(files), Path: "a"})
				done <- err
			}()
			select {
			case err := <-done:
				if fault.From(err) == nil || len(err.Error()) > 10_000 {
					t.Errorf("not refused with a fault, or with one of %d bytes: %.200v", len(fmt.Sprint(err)), err)
				}
			case <-ctx.Done():
				t.Fatal("it is still being unfolded")
			}
		})
	}
}

// Every field that names a file is given paths out of the tree: none of them may be read.
func TestNoPathFieldReadsOutsideOfTheTree(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside.yaml")
	const secret = "never-to-be-read"
	if err := os.WriteFile(outside, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+secret+"}\ndata: {k: "+secret+"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	climb := strings.Repeat("../", 40) + strings.TrimPrefix(filepath.ToSlash(outside), "/")
	check := func(field string, req Request) {
		t.Helper()
		res, err := Render(t.Context(), req)
		if err != nil && fault.From(err) == nil {
			t.Errorf("%s: not a fault: %v", field, err)
		}
		if strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("%s: a file outside of the tree was read: %v", field, err)
		}
		if res == nil {
			return
		}
		for _, u := range res.Objects {
			if strings.Contains(fmt.Sprint(u.Object), secret) {
				t.Errorf("%s: a file outside of the tree was read", field)
			}
		}
	}
	for _, field := range fetching {
		for _, path := range []string{outside, climb, "a/../../" + climb, filepath.Dir(outside)} {
			text := strings.ReplaceAll(field, "%s", path)
			check(text, Request{Path: "a", Tree: source.MapTree(map[string]string{
				"a/kustomization.yaml": text, "a/a.yaml": configMap, "a/x.env": "A=b\n", "a/schema.json": "{}",
			})})
		}
	}
	tree := source.MapTree(map[string]string{"a/a.yaml": configMap})
	for _, path := range []string{filepath.Dir(outside), filepath.Dir(climb), "a/../../.."} {
		check("spec.path "+path, Request{Path: path, Tree: tree})
		k := &kustomizev1.Kustomization{}
		k.Spec.Components = []string{path}
		check("spec.components "+path, Request{Path: "a", Tree: tree, Kustomization: k})
	}
}

// FuzzSubstitute puts arbitrary text and values through postBuild: what comes out is objects or a fault, soon, and text
// that holds no variable stays as it is.
func FuzzSubstitute(f *testing.F) {
	for _, s := range []struct{ text, name, value string }{
		{"${who}", "who", "world"}, {"$${who}", "who", "x"}, {"${who:=a b}", "other", ""}, {"${who", "who", "x"}, {"${a-b}", "a", "1"},
		{"${who/x/y}", "who", "xx"}, {"${#who}", "who", "four"}, {"${who:0:2}", "who", "abc"}, {"${who,,}", "who", "ABC"}, {"\"${who}\"", "who", "00"},
		{"${who}", "who", "a: b\nc: [d"}, {"${${who}}", "who", "who"}, {"${who:1:-9}", "who", "abc"}, {"${who^^}${who%%b*}", "who", "abc"},
	} {
		f.Add(s.text, s.name, s.value)
	}
	f.Fuzz(func(t *testing.T, text, name, value string) {
		if len(text) > 4096 || len(value) > 4096 {
			return
		}
		k := &kustomizev1.Kustomization{}
		k.Spec.PostBuild = &kustomizev1.PostBuild{Substitute: map[string]string{name: value}}
		tree := source.MapTree(map[string]string{"a/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: " + scalar(text) + "\n"})
		res, err := Render(t.Context(), Request{Tree: tree, Path: "a", Kustomization: k})
		if err != nil {
			if fault.From(err) == nil {
				t.Errorf("not a fault: %v", err)
			}
			return
		}
		if len(res.Objects) != 1 {
			t.Fatalf("%d objects", len(res.Objects))
		}
		data, _ := res.Objects[0].Object["data"].(map[string]any)
		if plainText(text) && data["k"] != text {
			t.Errorf("%q became %q", text, data["k"])
		}
	})
}

// plainText says that YAML and substitution have nothing to do with a text.
func plainText(s string) bool {
	for _, r := range s {
		if r < 'a' || r > 'z' {
			return false
		}
	}
	return s != ""
}

// scalar is a text as a double-quoted YAML scalar.
func scalar(s string) string { return fmt.Sprintf("%q", strings.ToValidUTF8(s, "?")) }
