package lawtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// vague are package names that say nothing of what is inside, and so attract everything.
var vague = []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "base", "shared", "pkg"}

func TestEveryPackageHasExactlyOneComment(t *testing.T) {
	for _, p := range packages(t) {
		names := p.GoFiles
		if len(names) == 0 {
			names = slices.Concat(p.TestGoFiles, p.XTestGoFiles)
		}
		var with []string
		for _, name := range names {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Errorf("%s: %v", p.short(), err)
				continue
			}
			if f.Doc == nil {
				continue
			}
			with = append(with, name)
			want := "Package " + p.Name + " "
			if p.Name == "main" {
				want = "Command "
			}
			if !strings.HasPrefix(f.Doc.Text(), want) {
				t.Errorf("%s/%s: the package comment does not begin with %q", p.short(), name, want)
			}
		}
		if len(with) != 1 {
			t.Errorf("%s has %d package comments, want one: %v", p.short(), len(with), with)
		}
	}
}

func TestPackageNamesSayWhatIsInside(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains(vague, p.Name) {
			t.Errorf("%s: a package called %s", p.short(), p.Name)
		}
	}
}

func TestEveryFuzzTargetHasSeeds(t *testing.T) {
	for _, name := range files(t) {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, read(t, name), parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Fuzz") || addsSeed(fn) {
				continue
			}
			seeds, err := filepath.Glob(filepath.Join(root, filepath.Dir(name), "testdata", "fuzz", fn.Name.Name, "*"))
			if err != nil || len(seeds) == 0 {
				t.Errorf("%s: %s has neither f.Add nor files under testdata/fuzz/%s", name, fn.Name.Name, fn.Name.Name)
			}
		}
	}
}

// addsSeed tells whether a fuzz target calls Add on its parameter.
func addsSeed(fn *ast.FuncDecl) bool {
	found := false
	ast.Inspect(fn, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Add" {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == fn.Type.Params.List[0].Names[0].Name {
				found = true
			}
		}
		return !found
	})
	return found
}
