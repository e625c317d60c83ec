package source

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// files lists the visible files of a tree after checking that its methods agree.
func files(t *testing.T, tree Tree) []string {
	t.Helper()
	got := map[string]string{}
	walk(t, tree, ".", got)
	return slices.Sorted(maps.Keys(got))
}

func view(t testing.TB, tree Tree, extra string) Tree {
	t.Helper()
	v, err := new(Ignores).View(tree, extra)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestIgnoreRulesFollowFlux(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files string // paths, or path=content
		extra string
		want  string
	}{
		{"defaults alone", "a.yaml b.png .sops.yaml .github/x d/.git/x", "", "a.yaml"},
		{"spec.ignore takes the place of the defaults", "a.yaml b.yaml c.png .github/x", "b.yaml", ".github/x a.yaml c.png"},
		{"so does a file", ".sourceignore=b.yaml a.yaml b.yaml c.png", "", ".sourceignore a.yaml c.png"},
		{"but Git's own files stay out", "a.yaml .gitignore d/.git/x .gitattributes", "b.yaml", "a.yaml"},
		{"spec.ignore can bring these back", "a.yaml .gitignore", "!.gitignore", ".gitignore a.yaml"},
		{"all but one directory", "x.yaml deploy/a.yaml deploy/sub/b.yaml docs/c.md", "# all\n/*\n!/deploy\n", "deploy/a.yaml deploy/sub/b.yaml"},
		{"a file comes back out of an excluded directory", "docs/keep.md docs/drop.md docs/sub/keep.md", "docs/\n!keep.md", "docs/keep.md docs/sub/keep.md"},
		{"a deep file comes back", "a/b/c/keep a/b/drop z", "/a\n!/a/b/c/keep", "a/b/c/keep z"},
		{"a directory's own file holds below it only", "a/.sourceignore=*.md a/x.md a/y.yaml b/x.md", "", "a/.sourceignore a/y.yaml b/x.md"},
		{"a deeper file wins over a higher one", ".sourceignore=*.md a/.sourceignore=!*.md a/x.md b/x.md", "", ".sourceignore a/.sourceignore a/x.md"},
		{"spec.ignore wins over every file", "a/.sourceignore=!*.md a/x.md", "*.md", "a/.sourceignore"},
		{"an anchored pattern is anchored in its directory", "a/.sourceignore=/x a/x a/b/x x", "", "a/.sourceignore a/b/x x"},
		{"CRLF", "a.md b.yaml", "*.md\r\n", "b.yaml"},
		{"a pattern with a slash at its end is for directories", "build/x sub/build", "build/", "sub/build"},
		{"stars between slashes", "a/b/x a/x/y c", "a/**/x", "c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := map[string]string{}
			for _, f := range strings.Fields(tt.files) {
				p, content, _ := strings.Cut(f, "=")
				all[p] = content
			}
			if got := strings.Join(files(t, view(t, MapTree(all), tt.extra)), " "); got != tt.want {
				t.Errorf("visible: %s\nwant:    %s", got, tt.want)
			}
		})
	}
}

func TestOtherRulesGiveOtherHashes(t *testing.T) {
	tree := MapTree(map[string]string{"a/x": "1", "a/y": "2"})
	root := func(v Tree) string { e, err := Stat(v, "."); check(t, err); return e.Hash }
	one, two, none := view(t, tree, "x"), view(t, tree, "y"), view(t, tree, "")
	if root(one) == root(two) || root(one) == root(none) || root(one) != root(view(t, tree, "x")) {
		t.Error("a root's hash must change with the rules, and with nothing else")
	}
	if Artifact(one) != one {
		t.Error("Artifact wrapped a view, and would hide what its rules brought back")
	}
}

func TestTooManyIgnoreRulesAreRefused(t *testing.T) {
	_, err := new(Ignores).View(MapTree(map[string]string{"x": ""}), strings.Repeat("a\n", maxIgnoreRules+1))
	if err == nil {
		t.Error("accepted")
	}
}

func TestUnchangedDirectoriesAreSearchedForIgnoreFilesOnce(t *testing.T) {
	i := new(Ignores)
	reads := &countingTree{Tree: MapTree(map[string]string{"a/x": "1", "b/y": "2", "b/c/z": "3"})}
	for range 2 {
		_, err := i.View(reads, "")
		check(t, err)
	}
	if reads.dirs != 4 {
		t.Errorf("%d directories were read, want 4: each once", reads.dirs)
	}
}

type countingTree struct {
	Tree
	dirs int
}

func (c *countingTree) ReadDir(p string) ([]Entry, string, error) { c.dirs++; return c.Tree.ReadDir(p) }
func (c *countingTree) Stat(p string) (Entry, error)              { return Stat(c.Tree, p) }

// FuzzIgnore holds the view against Flux's way: every path matched by itself against all rules.
func FuzzIgnore(f *testing.F) {
	f.Add("*.md\n!/docs", "/x", "sub/**")
	f.Fuzz(func(t *testing.T, extra, root, below string) {
		all := map[string]string{"x": "", "a/x": "", "a/b/x.md": "", "a/b/keep": "", "docs/y.png": "", "docs/sub/z": "", ".github/w": ""}
		all[IgnoreFile], all["a/"+IgnoreFile] = root, below
		v, err := new(Ignores).View(MapTree(all), extra)
		if err != nil {
			t.Skip()
		}
		rules := vcsRules()
		git := len(rules)
		for _, r := range []struct {
			text   string
			domain []string
		}{{root, nil}, {below, []string{"a"}}, {extra, nil}} {
			for _, line := range strings.Split(r.text, "\n") {
				line = strings.TrimSuffix(line, "\r")
				if len(line) >= 64<<10 {
					t.Skip()
				}
				if !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != "" {
					rules = append(rules, gitignore.ParsePattern(line, r.domain))
				}
			}
		}
		if len(rules) == git { // none of its own
			for _, pattern := range excluded {
				rules = append(rules, gitignore.ParsePattern(pattern, nil))
			}
		}
		m, want := gitignore.NewMatcher(rules), []string{}
		for p := range all {
			if !m.Match(strings.Split(p, "/"), false) {
				want = append(want, p)
			}
		}
		slices.Sort(want)
		if got := files(t, v); !slices.Equal(got, want) {
			t.Errorf("visible %q, want %q", got, want)
		}
	})
}

func TestSparseShowsWhatBeginsWithAName(t *testing.T) {
	tree := MapTree(map[string]string{"README": "", "apps/a": "", "apps/b/c": "", "apps-old/x": "", "infra/base/y": "", "infra/dev/z": ""})
	for _, tt := range []struct{ dirs, want string }{
		{"apps", "apps-old/x apps/a apps/b/c"}, {"./apps/", "apps/a apps/b/c"}, {"apps/b ./infra/dev", "apps/b/c infra/dev/z"},
		{".", "README apps-old/x apps/a apps/b/c infra/base/y infra/dev/z"},
	} {
		s, err := Sparse(tree, strings.Fields(tt.dirs))
		check(t, err)
		if got := strings.Join(files(t, s), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.dirs, got, tt.want)
		}
	}
	if _, err := Sparse(tree, []string{"apps", "missing"}); err == nil || !strings.Contains(err.Error(), "'missing' does not exist") {
		t.Errorf("a missing directory: %v", err)
	}
}

func TestMountAddsAndNeverReplaces(t *testing.T) {
	base := MapTree(map[string]string{"f": "1", "d/e": "2"})
	other := MapTree(map[string]string{"x/y": "3", "z": "4"})
	for _, tt := range []struct{ at, from, want string }{
		{"lib", ".", "d/e f lib/x/y lib/z"}, {"d/lib", "x", "d/e d/lib/y f"}, {"new/deep/z", "z", "d/e f new/deep/z"},
	} {
		m, err := Mount(base, tt.at, other, tt.from)
		check(t, err)
		if got := strings.Join(files(t, m), " "); got != tt.want {
			t.Errorf("%s from %s: %s, want %s", tt.at, tt.from, got, tt.want)
		}
		same, err := Mount(base, tt.at, MapTree(map[string]string{"x/y": "changed", "z": "changed"}), tt.from)
		check(t, err)
		a, _ := Stat(m, ".")
		b, _ := Stat(same, ".")
		if a.Hash == b.Hash {
			t.Errorf("%s: the root's hash hides a change", tt.at)
		}
	}
	for _, tt := range []struct {
		at, from string
		want     error
	}{{"d", ".", ErrExist}, {"f", ".", ErrExist}, {"f/g", ".", ErrNotDir}, {"lib", "none", ErrNotExist}, {".", ".", ErrExist}, {"../x", ".", ErrExist}} {
		if _, err := Mount(base, tt.at, other, tt.from); !errors.Is(err, tt.want) {
			t.Errorf("%s from %s: %v, want %v", tt.at, tt.from, err, tt.want)
		}
	}
	m, err := Mount(base, "a/b", other, ".")
	check(t, err)
	m, err = Mount(m, "a/b/c", other, "x")
	check(t, err)
	if got := fmt.Sprint(files(t, m)); got != "[a/b/c/y a/b/x/y a/b/z d/e f]" {
		t.Errorf("a mount in a mount: %s", got)
	}
}
