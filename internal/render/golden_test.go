package render

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

var update = flag.Bool("update", false, "rewrite the golden sections of testdata/*.txtar")

// scenario is request.yaml of a testdata archive. The archive's other files are the tree, except those named want.*.
type scenario struct {
	Path       string                        `json:"path"`
	Decryption bool                          `json:"decryption"`
	Vars       map[string]string             `json:"vars"`
	LooseVars  bool                          `json:"looseVars"`
	Spec       kustomizev1.KustomizationSpec `json:"spec"`
}

func load(t testing.TB, file string) (*txtar.Archive, Request) {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s scenario
	files := map[string]string{}
	for _, f := range a.Files {
		switch {
		case f.Name == "request.yaml":
			if err := yaml.UnmarshalStrict(f.Data, &s); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		case !strings.HasPrefix(f.Name, "want."):
			files[f.Name] = string(f.Data)
		}
	}
	req := Request{
		Tree: source.Artifact(source.MapTree(files)), Path: s.Path, Vars: s.Vars, LooseVars: s.LooseVars, Encrypted: fakeEncrypted,
		Kustomization: &kustomizev1.Kustomization{Spec: s.Spec},
	}
	if s.Decryption {
		req.Open = fakeOpen
	}
	return a, req
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, req := load(t, file)
			got := golden(t, req)
			if *update {
				kept := a.Files[:0]
				for _, f := range a.Files {
					if !strings.HasPrefix(f.Name, "want.") {
						kept = append(kept, f)
					}
				}
				a.Files = append(kept, got...)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			var want []txtar.File
			for _, f := range a.Files {
				if strings.HasPrefix(f.Name, "want.") {
					want = append(want, f)
				}
			}
			if g, w := format(got), format(want); g != w {
				t.Errorf("got\n%s\nwant\n%s", g, w)
			}
		})
	}
}

func format(files []txtar.File) string { return string(txtar.Format(&txtar.Archive{Files: files})) }

// golden renders and gives the result as want.* files: the objects and the inputs, or the fault.
func golden(t *testing.T, req Request) []txtar.File {
	res, err := Render(context.Background(), req)
	if err != nil {
		f := fault.From(err)
		if f == nil {
			t.Fatalf("not a fault: %v", err)
		}
		text := fmt.Sprintf("code: %s\nhop: %s\nreason: %s\nobject: %s\nfile: %s\nseen: %s\nwhy: %s\nfix: %s\n",
			f.Code, f.Hop, f.Reason, f.Object, f.File, f.Seen, f.Why, f.Fix)
		// One JSON library words its errors one way or the other by chance, so that nobody relies on them.
		text = strings.ReplaceAll(text, "unable to unmarshal", "cannot unmarshal")
		return []txtar.File{{Name: "want.fault", Data: []byte(text)}}
	}
	if !Unchanged(req.Tree, res.Inputs) {
		t.Error("the inputs changed against the tree that they were recorded from")
	}
	return []txtar.File{{Name: "want.yaml", Data: objectsYAML(t, res)}, {Name: "want.inputs", Data: inputsText(res.Inputs)}}
}

func objectsYAML(t testing.TB, res *Result) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, o := range res.Objects {
		y, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("---\n")
		b.Write(y)
	}
	return b.Bytes()
}

func inputsText(inputs []Input) []byte {
	var b bytes.Buffer
	for _, in := range inputs {
		switch {
		case in.Missing:
			fmt.Fprintf(&b, "nothing    %s\n", in.Path)
		case in.Dir && in.Hash != "":
			fmt.Fprintf(&b, "names in   %s\n", in.Path)
		case in.Dir:
			fmt.Fprintf(&b, "directory  %s\n", in.Path)
		default:
			fmt.Fprintf(&b, "file       %s\n", in.Path)
		}
	}
	return b.Bytes()
}

// The test's own sealing: ENC[<base64>] in the place of a value, and a sops block, or sops_ lines, as metadata.

var sealedValue = regexp.MustCompile(`ENC\[([A-Za-z0-9+/=]*)\]`)

func fakeEncrypted(p string, data []byte) bool {
	switch path.Ext(p) {
	case ".env":
		return bytes.Contains(data, []byte("sops_mac="))
	case ".yaml", ".yml":
		return bytes.HasPrefix(data, []byte("sops:")) || bytes.Contains(data, []byte("\nsops:"))
	}
	return bytes.Contains(data, []byte(`"sops":`))
}

func fakeOpen(_ context.Context, p string, data []byte) ([]byte, error) {
	reveal := func(s string) string {
		return sealedValue.ReplaceAllStringFunc(s, func(enc string) string {
			raw, err := base64.StdEncoding.DecodeString(sealedValue.FindStringSubmatch(enc)[1])
			if err != nil {
				panic(err)
			}
			return string(raw)
		})
	}
	switch path.Ext(p) {
	case ".yaml", ".yml", ".env":
		var out strings.Builder
		inBlock := false
		for line := range strings.Lines(string(data)) {
			inBlock = strings.HasPrefix(line, "sops:") || inBlock && strings.HasPrefix(line, " ")
			if !inBlock && !strings.HasPrefix(line, "sops_") {
				out.WriteString(reveal(line))
			}
		}
		return []byte(out.String()), nil
	}
	var binary struct{ Data string }
	if err := json.Unmarshal(data, &binary); err != nil {
		return nil, err
	}
	return []byte(reveal(binary.Data)), nil
}
