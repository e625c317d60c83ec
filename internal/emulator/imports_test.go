package emulator_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheEmulatorKnowsNoClient keeps the server side free of Azure's SDK and of our own client side: either would let
// one mistake hide another.
func TestTheEmulatorKnowsNoClient(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			for _, banned := range []string{"github.com/Azure/", "github.com/AzureAD/", "sluice/internal/azure", "getsops/"} {
				if strings.Contains(spec.Path.Value, banned) {
					t.Errorf("%s imports %s", path, spec.Path.Value)
				}
			}
		}
		return nil
	})
	if err != nil || files < 10 {
		t.Errorf("read %d files, %v", files, err)
	}
}

// TestEveryFuzzTargetHasCommittedSeeds fails when seeds moved away from their target, which go test does not notice.
func TestEveryFuzzTargetHasCommittedSeeds(t *testing.T) {
	files, err := filepath.Glob("*/*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	targets := 0
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range file.Decls {
			f, isFunc := declared.(*ast.FuncDecl)
			if !isFunc || !strings.HasPrefix(f.Name.Name, "Fuzz") {
				continue
			}
			targets++
			seeds := filepath.Join(filepath.Dir(path), "testdata", "fuzz", f.Name.Name, "*")
			if found, _ := filepath.Glob(seeds); len(found) == 0 {
				t.Errorf("%s: no seeds in %s", f.Name.Name, seeds)
			}
		}
	}
	if targets == 0 {
		t.Error("no fuzz target found")
	}
}
