package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	kustypes "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

// repository makes a random tree: a few bases, components and overlays that refer to one another, and folders that have
// no kustomization. Most of them build.
func repository(r *rand.Rand) map[string]string {
	files := map[string]string{"README.md": "x", "top/notes.txt": "y"}
	manifest := func(dir, name string) string {
		kind := []string{"ConfigMap", "Secret", "Deployment"}[r.IntN(3)]
		body := "data: {k: dg==}\n"
		api := "v1"
		if kind == "Deployment" {
			api, body = "apps/v1", "spec: {template: {spec: {containers: [{name: c, image: 'nginx:"+fmt.Sprint(r.IntN(9))+"'}]}}}\n"
		}
		files[path.Join(dir, name+".yaml")] = fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s-%s}\n%s",
			api, kind, strings.ReplaceAll(dir, "/", "-"), name, body)
		return name + ".yaml"
	}
	bases := 1 + r.IntN(3)
	for b := range bases {
		dir := fmt.Sprintf("base%d", b)
		var k strings.Builder
		k.WriteString("resources:\n")
		for i := range 1 + r.IntN(3) {
			fmt.Fprintf(&k, "- %s\n", manifest(dir, fmt.Sprintf("m%d", i)))
		}
		if b > 0 && r.IntN(2) == 0 {
			fmt.Fprintf(&k, "- ../base%d\n", r.IntN(b))
		}
		if r.IntN(2) == 0 {
			fmt.Fprintf(&k, "namePrefix: p%d-\n", r.IntN(9))
		}
		if r.IntN(3) == 0 {
			files[dir+"/f.txt"] = fmt.Sprint(r.IntN(100))
			fmt.Fprintf(&k, "configMapGenerator: [{name: g%d, files: [f.txt]}]\n", b)
		}
		files[path.Join(dir, []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}[r.IntN(3)])] = k.String()
	}
	files["component/kustomization.yaml"] = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels: [{pairs: {c: d}}]\n"
	if r.IntN(3) == 0 { // generated
		for i := range 1 + r.IntN(3) {
			manifest("top", fmt.Sprintf("m%d", i))
			manifest("top/sub", fmt.Sprintf("s%d", i))
		}
		files["top/own/kustomization.yaml"] = fmt.Sprintf("resources: [../../base%d]\n", r.IntN(bases))
		return files
	}
	var k strings.Builder
	fmt.Fprintf(&k, "resources:\n- ../base%d\n- %s\n", r.IntN(bases), manifest("top", "own"))
	if r.IntN(2) == 0 {
		k.WriteString("components: [../component]\n")
	}
	if r.IntN(2) == 0 {
		k.WriteString("patches: [{target: {kind: ConfigMap}, path: ../patch.yaml}]\n")
		files["patch.yaml"] = "- {op: add, path: /data/patched, value: 'yes'}\n"
	}
	files["top/kustomization.yaml"] = k.String()
	return files
}

// onDisk builds the same with kustomize over real files. Generation is ours in both.
func onDisk(t *testing.T, files map[string]string, top []byte, topName string) ([]byte, error) {
	t.Helper()
	dir := t.TempDir()
	for p, data := range files {
		p = filepath.Join(dir, p)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(data), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, topName), top, 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := krusty.MakeKustomizer(&krusty.Options{
		Reorder: krusty.ReorderOptionNone, LoadRestrictions: kustypes.LoadRestrictionsNone, PluginConfig: kustypes.DisabledPluginConfig(),
	}).Run(filesys.MakeFsOnDisk(), filepath.Join(dir, path.Dir(topName)))
	if err != nil {
		return nil, err
	}
	y, err := m.AsYaml()
	return bytes.ReplaceAll(y, []byte(dir), nil), err
}

func TestMemoryAndDiskRenderTheSame(t *testing.T) {
	built := 0
	for seed := range uint64(60) {
		files := repository(rand.New(rand.NewPCG(seed, 1)))
		r := &renderer{req: Request{Kustomization: &kustomizev1.Kustomization{}}, rec: newRecorder(source.MapTree(files)), root: "top"}
		r.fs = newFileSystem(context.Background(), r.rec)
		if err := r.placeKustomization(); err != nil {
			t.Fatal(err)
		}
		want, wantErr := onDisk(t, files, r.fs.overlay[r.topFile()], r.topFile())
		res, err := Render(context.Background(), Request{Tree: source.MapTree(files), Path: "top"})
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("seed %d: memory: %v; disk: %v", seed, err, wantErr)
		}
		if err != nil {
			continue
		}
		built++
		got := bytes.TrimPrefix(objectsYAML(t, res), []byte("---\n"))
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, got, want)
		}
	}
	if built < 30 {
		t.Errorf("only %d of the random trees build; the test shows little", built)
	}
}

// edit changes, adds, removes, or moves one file.
func edit(r *rand.Rand, files map[string]string) map[string]string {
	out := maps.Clone(files)
	names := slices.Sorted(maps.Keys(files))
	name := names[r.IntN(len(names))]
	dirs := []string{"top", "top/sub", "top/own", "base0", "base1", "component", "."}
	dir := dirs[r.IntN(len(dirs))]
	switch r.IntN(7) {
	case 0:
		out[name] += "\n# comment\n"
	case 1:
		out[name] = strings.ReplaceAll(out[name], "nginx", "httpd")
	case 2:
		delete(out, name)
	case 3:
		out[path.Join(dir, fmt.Sprintf("new%d.yaml", r.IntN(3)))] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new%d}\n", r.IntN(9))
	case 4:
		out[path.Join(dir, []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}[r.IntN(3)])] = "namePrefix: added-\n"
	case 5:
		out[path.Join(dir, "unrelated.txt")] = fmt.Sprint(r.IntN(9))
	case 6:
		delete(out, name)
		out[name+"/inside.yaml"] = files[name] // a file becomes a directory
	}
	return out
}

func TestUnchangedInputsMeanAnUnchangedResult(t *testing.T) {
	same, kept := 0, 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 2))
		files := repository(r)
		before, err := Render(context.Background(), Request{Tree: source.MapTree(files), Path: "top"})
		if err != nil {
			continue
		}
		edited := edit(r, files)
		for range r.IntN(3) {
			edited = edit(r, edited)
		}
		tree, err := mapTree(edited)
		if err != nil {
			continue
		}
		after, err := Render(context.Background(), Request{Tree: tree, Path: "top"})
		equal := err == nil && bytes.Equal(objectsYAML(t, before), objectsYAML(t, after))
		if Unchanged(tree, before.Inputs) {
			same++
			if !equal {
				t.Fatalf("seed %d: said to be unchanged, but renders otherwise: %v", seed, err)
			}
		} else if equal {
			kept++
		}
	}
	if same < 20 {
		t.Errorf("only %d edits left the inputs alone", same)
	}
	t.Logf("%d unchanged, %d changed without effect", same, kept)
}

// mapTree is source.MapTree for maps in which a file may also be a directory.
func mapTree(files map[string]string) (tree source.Tree, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return source.MapTree(files), nil
}

func TestUnchangedSeesEveryKindOfInput(t *testing.T) {
	tree := source.MapTree(map[string]string{"a/f.yaml": "1", "b/x": "2"})
	names, err := NewView(tree).list("a")
	if err != nil {
		t.Fatal(err)
	}
	file, _ := names.find("f.yaml")
	for _, tt := range []struct {
		name  string
		input Input
		want  bool
	}{
		{"file", Input{Path: "a/f.yaml", Hash: file.Hash}, true},
		{"file, other content", Input{Path: "a/f.yaml", Hash: "0"}, false},
		{"file, now a directory", Input{Path: "a", Hash: file.Hash}, false},
		{"file, gone", Input{Path: "a/g.yaml", Hash: file.Hash}, false},
		{"directory", Input{Path: "a", Dir: true}, true},
		{"root", Input{Path: ".", Dir: true}, true},
		{"directory, now a file", Input{Path: "a/f.yaml", Dir: true}, false},
		{"directory, gone", Input{Path: "c/d", Dir: true}, false},
		{"names", Input{Path: "a", Dir: true, Hash: names.hash()}, true},
		{"other names", Input{Path: "b", Dir: true, Hash: names.hash()}, false},
		{"nothing", Input{Path: "a/f.yaml/kustomization.yaml", Missing: true}, true},
		{"nothing, now a file", Input{Path: "a/f.yaml", Missing: true}, false},
		{"nothing, now a directory", Input{Path: "a", Missing: true}, false},
	} {
		if got := Unchanged(tree, []Input{tt.input}); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// broken is a tree whose store fails.
type broken struct{ source.Tree }

var errStore = errors.New("object store is damaged")

func (broken) ReadFile(string) ([]byte, string, error) { return nil, "", errStore }

func TestTreeFailuresAreNotMissingFiles(t *testing.T) {
	tree := broken{source.MapTree(map[string]string{"apps/a.yaml": configMap})}
	_, err := Render(context.Background(), Request{Tree: tree, Path: "apps"})
	if !errors.Is(err, errStore) || fault.From(err) != nil {
		t.Errorf("got %v, want the store's own error", err)
	}
}

func TestRenderStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, req := load(t, "testdata/sops.txtar")
	if _, err := Render(ctx, req); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	req.Open = func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if _, err := Render(ctx, req); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
