package render

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/source"
)

// app is ten objects and one overlay, the size of app that the project measures itself with.
func app() Request {
	files := map[string]string{"README.md": "x"}
	var k strings.Builder
	k.WriteString("resources:\n")
	for i := range 10 {
		name := fmt.Sprintf("o%d.yaml", i)
		body := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: o%d\ndata:\n  a: b\n  c: d\n", i)
		if i%5 == 0 {
			body = fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: o%d\nspec:\n  template:\n    spec:\n      containers:\n      - name: c\n        image: nginx:1\n", i)
		}
		files["base/"+name] = body
		fmt.Fprintf(&k, "- %s\n", name)
	}
	files["base/kustomization.yaml"] = k.String()
	files["apps/kustomization.yaml"] = "namespace: apps\nresources: [../base]\nimages: [{name: nginx, newTag: '2'}]\n"
	return Request{Tree: source.MapTree(files), Path: "apps"}
}

func BenchmarkRender(b *testing.B) {
	req := app()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Render(context.Background(), req); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnchanged(b *testing.B) {
	req := app()
	res, err := Render(context.Background(), req)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !Unchanged(req.Tree, res.Inputs) {
			b.Fatal("changed")
		}
	}
}

func TestTheTreeAloneDecidesWhatIsGeneratedFrom(t *testing.T) {
	tree := source.MapTree(map[string]string{ // what spec.ignore of a source has brought back
		"apps/.github/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: shown\n",
	})
	for want, tree := range map[int]source.Tree{1: tree, 0: source.Artifact(tree)} {
		res, err := Render(t.Context(), Request{Tree: tree, Path: "apps"})
		if err != nil || len(res.Objects) != want {
			t.Errorf("%d objects, %v; want %d", len(res.Objects), err, want)
		}
	}
}
