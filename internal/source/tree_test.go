package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
)

// randomTree makes files below a few levels of directories, with the names and contents that repositories really have.
func randomTree(r *rand.Rand) map[string]string {
	names := []string{"a", "b.yaml", "a.b", "a-b", "a0", "ü", "with space", "\u200e", "A", "kustomization.yaml", "\"quoted\"", "tab\tbed"}
	files := map[string]string{}
	dirs := map[string]bool{}
	for range 1 + r.Intn(60) {
		p := names[r.Intn(len(names))]
		for range r.Intn(4) {
			p = path.Join("d"+names[r.Intn(len(names))], p)
		}
		if !dirs[p] {
			files[p] = strings.Repeat(fmt.Sprintln("line", r.Intn(5)), 1+r.Intn(200))
		}
		for d := path.Dir(p); d != "."; d = path.Dir(d) {
			dirs[d] = true
			delete(files, d)
		}
	}
	return files
}

// walk lists a tree as path to hash, and checks on the way that ReadDir, ReadFile and Stat agree.
func walk(t *testing.T, tree Tree, dir string, into map[string]string) {
	t.Helper()
	entries, hash, err := tree.ReadDir(dir)
	check(t, err)
	if at, err := Stat(tree, dir); err != nil || !at.Dir || at.Hash != hash {
		t.Errorf("Stat(%q) = %+v, %v", dir, at, err)
	}
	if !sort.SliceIsSorted(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name }) {
		t.Errorf("%s is not in name order", dir)
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name)
		if at, err := Stat(tree, p); err != nil || at != e {
			t.Errorf("Stat(%q) = %+v, %v; want %+v", p, at, err, e)
		}
		if e.Dir {
			if _, _, err := tree.ReadFile(p); !errors.Is(err, ErrIsDir) {
				t.Errorf("ReadFile of directory %q: %v", p, err)
			}
			walk(t, tree, p, into)
			continue
		}
		_, hash, err := tree.ReadFile(p)
		if err != nil || hash != e.Hash {
			t.Errorf("ReadFile(%q): hash %s, %v; its entry says %s", p, hash, err, e.Hash)
		}
		if _, _, err := tree.ReadDir(p); !errors.Is(err, ErrNotDir) {
			t.Errorf("ReadDir of file %q: %v", p, err)
		}
		into[p] = hash
	}
}

// TestTreeEqualsGit compares random trees, one changed step by step, with what git itself lists and shows.
func TestTreeEqualsGit(t *testing.T) {
	h := newHost(t, nil)
	m, spec := openMirror(t), Spec{URL: h.url(), Branch: "main"}
	var last *Revision
	for seed := range int64(12) {
		r := rand.New(rand.NewSource(seed))
		if seed%3 == 0 {
			entries, _ := os.ReadDir(h.work)
			for _, e := range entries {
				if e.Name() != ".git" {
					check(t, os.RemoveAll(filepath.Join(h.work, e.Name())))
				}
			}
		}
		for p, content := range randomTree(r) {
			at := filepath.Join(h.work, p)
			if os.MkdirAll(filepath.Dir(at), 0o755) == nil {
				_ = os.WriteFile(at, []byte(content), os.FileMode(0o644|r.Intn(2)*0o111)) // may clash with an older directory
			}
		}
		_ = os.Symlink("b.yaml", filepath.Join(h.work, "link"))
		_ = os.Symlink("/etc", filepath.Join(h.work, "outside"))
		h.commit(t, nil)
		last = fetch(t, m, spec, last)
		got := map[string]string{}
		walk(t, last.Tree, ".", got)
		want := map[string]string{}
		for _, line := range strings.Split(git(t, h.work, "ls-tree", "-r", "-z", "HEAD"), "\x00") {
			meta, name, _ := strings.Cut(line, "\t")
			if f := strings.Fields(meta); len(f) == 3 && strings.HasPrefix(f[0], "100") {
				want[name] = f[2]
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: tree lists\n%v\ngit lists\n%v", seed, got, want)
		}
		for p := range want {
			data, _, _ := last.Tree.ReadFile(p)
			onDisk, err := os.ReadFile(filepath.Join(h.work, p))
			if err != nil || !bytes.Equal(data, onDisk) {
				t.Fatalf("seed %d: %q differs from the working copy (%v)", seed, p, err)
			}
		}
		if root, _ := Stat(last.Tree, "."); root.Hash != git(t, h.work, "rev-parse", "HEAD^{tree}") {
			t.Errorf("seed %d: root hash %s", seed, root.Hash)
		}
	}
	fsck(t, m)
}

func TestSymbolicLinksAndSubmodulesAreAbsent(t *testing.T) {
	h := newHost(t, nil)
	hash := h.commit(t, map[string]string{"dir/f": "one", "f": "two"})
	check(t, os.Symlink("dir", filepath.Join(h.work, "link")))
	check(t, os.Symlink("f", filepath.Join(h.work, "flink")))
	git(t, h.work, "update-index", "--add", "--cacheinfo", "160000,"+hash+",module")
	git(t, h.work, "add", "link", "flink")
	git(t, h.work, "commit", "-q", "-m", "links")
	git(t, h.work, "push", "-q", "origin", "HEAD:main")
	tree := fetch(t, openMirror(t), Spec{URL: h.url(), Branch: "main"}, nil).Tree
	entries, _, err := tree.ReadDir(".")
	check(t, err)
	if names := fmt.Sprint(entries[0].Name, entries[1].Name, len(entries)); names != "dirf2" {
		t.Errorf("entries %v", entries)
	}
	for _, p := range []string{"link", "link/f", "flink", "module", "module/x"} {
		if _, _, err := tree.ReadFile(p); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("ReadFile(%s): %v", p, err)
		}
		if _, _, err := tree.ReadDir(p); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("ReadDir(%s): %v", p, err)
		}
	}
}

func TestEmptyTreeIsReadable(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, nil)
	rev := fetch(t, openMirror(t), Spec{URL: h.url(), Branch: "main"}, nil)
	if entries, _, err := rev.Tree.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("ReadDir: %v, %v", entries, err)
	}
}

func TestTreesWithForbiddenNamesAreRefused(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": "one"})
	blob := git(t, h.work, "rev-parse", "HEAD:f")
	raw := make([]byte, 20)
	_, err := fmt.Sscanf(blob, "%x", &raw)
	check(t, err)
	entry := func(name string) string { return "100644 " + name + "\x00" + string(raw) }
	for _, body := range []string{entry(".."), entry("."), entry(".git"), entry(".GIT"), entry("a/b"), entry("a") + entry("a")} {
		at := filepath.Join(t.TempDir(), "tree")
		check(t, os.WriteFile(at, []byte(body), 0o600))
		tree := git(t, h.bare, "hash-object", "-t", "tree", "-w", "--literally", at)
		commit := git(t, h.bare, "commit-tree", "-m", "evil", tree)
		git(t, h.bare, "update-ref", "refs/heads/evil", commit)
		refused(t, openMirror(t), Spec{URL: h.url(), Branch: "evil"}, "SLU-GIT-015")
	}
}

func sampleFiles() map[string]string {
	return map[string]string{
		"apps/kustomization.yaml": "resources: [deploy.yaml]", "apps/deploy.yaml": "kind: Deployment", "README.md": "hello",
		".sops.yaml": "x", "apps/.sops.yaml": "x", ".gitignore": "# none", "logo.png": "x", "apps/a.tar.gz": "x", ".github/workflows/ci.yml": "x",
		".gitlab-ci.yml": "x", "deep/.circleci/config.yml": "x", "a.gz": "kept", "github/x": "kept", "cloudbuild.yaml": "x",
	}
}

func TestArchiveHasFluxsShape(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, sampleFiles())
	check(t, os.Symlink("README.md", filepath.Join(h.work, "link")))
	h.commit(t, nil)
	rev := fetch(t, openMirror(t), Spec{URL: h.url(), Branch: "main"}, nil)
	var one, two bytes.Buffer
	check(t, rev.WriteArchive(&one))
	check(t, fetch(t, openMirror(t), Spec{URL: h.url(), Branch: "main"}, nil).WriteArchive(&two))
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("two archives of one tree differ")
	}
	zip, err := gzip.NewReader(&one)
	check(t, err)
	var got []string
	for r := tar.NewReader(zip); ; {
		header, err := r.Next()
		if err == io.EOF {
			break
		}
		check(t, err)
		data, _ := io.ReadAll(r)
		got = append(got, fmt.Sprintf("%s %o %d %q", header.Name, header.Mode, header.ModTime.Unix(), data))
	}
	want := []string{
		`README.md 600 0 "hello"`, `a.gz 600 0 "kept"`,
		`apps/ 750 0 ""`, `apps/deploy.yaml 600 0 "kind: Deployment"`, `apps/kustomization.yaml 600 0 "resources: [deploy.yaml]"`,
		`deep/ 750 0 ""`, `github/ 750 0 ""`, `github/x 600 0 "kept"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("archive holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestArtifactHidesWhatFluxExcludes(t *testing.T) {
	tree := Artifact(MapTree(sampleFiles()))
	for p, want := range map[string]bool{"README.md": true, "apps/deploy.yaml": true, "a.gz": true, "github/x": true,
		".sops.yaml": false, "apps/.sops.yaml": false, "logo.png": false, ".github/workflows/ci.yml": false, "deep/.circleci": false} {
		if _, err := Stat(tree, p); (err == nil) != want || err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, visible: want %v", p, err, want)
		}
	}
	walk(t, tree, ".", map[string]string{})
}

func TestMapTreeFollowsTheContract(t *testing.T) {
	for seed := range int64(20) {
		files := randomTree(rand.New(rand.NewSource(seed)))
		got := map[string]string{}
		tree := MapTree(files)
		walk(t, tree, ".", got)
		if len(got) != len(files) {
			t.Errorf("seed %d: %d files, want %d", seed, len(got), len(files))
		}
		a, _ := Stat(tree, ".")
		b, _ := Stat(MapTree(files), ".")
		for p := range files {
			files[p] += "x"
			break
		}
		c, _ := Stat(MapTree(files), ".")
		if a != b || a == c {
			t.Errorf("seed %d: root hashes %s, %s, changed %s", seed, a.Hash, b.Hash, c.Hash)
		}
	}
}

// FuzzTreePath checks that no spelling of a path reaches anything but the files by their own clean names.
func FuzzTreePath(f *testing.F) {
	files := map[string]string{"a": "1", "b/c": "2", "b/d/e": "3"}
	tree := MapTree(files)
	f.Fuzz(func(t *testing.T, p string) {
		data, _, err := tree.ReadFile(p)
		if want, ok := files[p]; ok != (err == nil) || string(data) != want {
			t.Fatalf("ReadFile(%q) = %q, %v", p, data, err)
		}
		_, _, dirErr := tree.ReadDir(p)
		if isDir := p == "." || p == "b" || p == "b/d"; isDir != (dirErr == nil) {
			t.Fatalf("ReadDir(%q): %v", p, dirErr)
		}
		if err != nil && dirErr != nil && (!errors.Is(err, ErrNotExist) || !errors.Is(dirErr, ErrNotExist)) {
			t.Fatalf("%q: %v, %v; want both to say that it does not exist", p, err, dirErr)
		}
		if parts, ok := split(p); ok && p != path.Clean(p) || ok && path.Join(append([]string{"."}, parts...)...) != p {
			t.Fatalf("split(%q) = %q", p, parts)
		}
		if visible(p) && (strings.HasPrefix(p, "/") || strings.Contains("/"+p+"/", "/../")) {
			t.Fatalf("%q is visible", p)
		}
	})
}

func TestFuzzSeedsAreThere(t *testing.T) {
	for _, name := range []string{"FuzzURL", "FuzzTreePath", "FuzzKnownHosts"} {
		if seeds, err := filepath.Glob("testdata/fuzz/" + name + "/*"); err != nil || len(seeds) < 3 {
			t.Errorf("%s has %d seeds", name, len(seeds))
		}
	}
}

// FuzzKnownHosts checks that parsing survives anything and that an unlisted key is never accepted.
func FuzzKnownHosts(f *testing.F) {
	key := rsaKeyOnce()
	ep := &endpoint{scheme: "ssh", host: "example.org", path: "/a"}
	f.Fuzz(func(t *testing.T, data []byte) {
		hosts, err := parseKnownHosts(data)
		if err != nil {
			return
		}
		if len(hosts.algorithms(ep.address())) == 0 {
			t.Fatal("no algorithms")
		}
		if hosts.check(ep)("example.org:22", nil, key) == nil {
			t.Fatal("a key made for this run is accepted")
		}
	})
}

func BenchmarkParallelRead(b *testing.B) {
	h := newBenchHost(b)
	rev := fetch(b, openMirror(b), Spec{URL: h.url(), Branch: "main"}, nil)
	for _, workers := range []int{1, 4, 16} {
		b.Run(fmt.Sprint(workers, " readers"), func(b *testing.B) {
			for range b.N {
				rev.Tree.(*gitTree).store.objects.Clear()
				var wg sync.WaitGroup
				for w := range workers {
					wg.Add(1)
					go func() {
						defer wg.Done()
						for i := w; i < 2000; i += workers {
							if _, _, err := rev.Tree.ReadFile(fmt.Sprintf("apps/%03d/%d.yaml", i/10, i%10)); err != nil {
								b.Error(err)
							}
						}
					}()
				}
				wg.Wait()
			}
		})
	}
}
