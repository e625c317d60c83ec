package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// addModule records commit as a submodule at path, with an entry in .gitmodules, and pushes.
func (h *host) addModule(t *testing.T, path, url, commit string) {
	t.Helper()
	old, _ := os.ReadFile(filepath.Join(h.work, ".gitmodules"))
	text := string(old) + "[submodule \"" + path + "\"]\n\tpath = " + path + "\n\turl = " + url + "\n"
	check(t, os.WriteFile(filepath.Join(h.work, ".gitmodules"), []byte(text), 0o644))
	git(t, h.work, "add", ".gitmodules")
	if commit != "" {
		git(t, h.work, "update-index", "--add", "--cacheinfo", "160000,"+commit+","+path)
	}
	git(t, h.work, "commit", "-q", "-m", "module")
	git(t, h.work, "push", "-q", "--force", "origin", "HEAD:main")
}

func TestSubmodulesStandInTheirPlaces(t *testing.T) {
	app, lib, deep := newHost(t, nil), newHost(t, nil), newHost(t, nil)
	one := deep.commit(t, map[string]string{"z": "deep"})
	lib.commit(t, map[string]string{"x/y": "lib"})
	lib.addModule(t, "sub/deep", deep.url(), one)
	two := git(t, lib.work, "rev-parse", "HEAD")
	app.commit(t, map[string]string{"f": "app"})
	app.addModule(t, "vendor/lib", lib.url(), two)
	app.addModule(t, "gone", lib.url(), "")

	m, spec := openMirror(t), Spec{URL: app.url(), Branch: "main", Auth: Auth{Username: "ada", Password: "secret-of-app"}}
	rev := fetch(t, m, spec, nil)
	tree, err := m.Submodules(t.Context(), spec, rev)
	check(t, err)
	if got := strings.Join(files(t, tree), " "); got != ".gitmodules f vendor/lib/.gitmodules vendor/lib/sub/deep/z vendor/lib/x/y" {
		t.Errorf("files: %s", got)
	}
	for _, other := range []*host{lib, deep} {
		for _, header := range other.lastHeaders() {
			if header.Get("Authorization") != "" {
				t.Error("credentials were sent to another origin")
			}
		}
		other.taken()
	}
	again, err := m.Submodules(t.Context(), spec, rev)
	check(t, err)
	a, _ := Stat(tree, ".")
	b, _ := Stat(again, ".")
	if n := len(lib.taken()) + len(deep.taken()); n != 0 || a.Hash != b.Hash {
		t.Errorf("an unchanged revision took %d requests", n)
	}
	// A module that left takes its mirror along.
	app.commit(t, map[string]string{".gitmodules": ""})
	_, err = m.Submodules(t.Context(), spec, fetch(t, m, spec, rev))
	check(t, err)
	if left, _ := os.ReadDir(filepath.Join(m.dir, "modules")); len(left) != 0 {
		t.Errorf("%d mirrors are left", len(left))
	}
	if data, _, err := tree.ReadFile("vendor/lib/x/y"); err != nil || string(data) != "lib" {
		t.Errorf("the old tree reads %q, %v", data, err)
	}
}

func TestSubmodulesOfTheSameOriginGetItsCredentials(t *testing.T) {
	own := Spec{URL: "https://ada:pw@git.example.org/org/app.git"}
	with := Spec{URL: "https://git.example.org/org/app.git", Auth: Auth{BearerToken: "t"}}
	for _, tt := range []struct {
		parent   Spec
		url      string
		want     string
		trusted  bool
		username string
	}{
		{with, "../lib.git", "https://git.example.org/org/lib.git", true, ""},
		{with, "../../../../lib", "https://git.example.org/lib", true, ""},
		{with, "./lib", "https://git.example.org/org/app.git/lib", true, ""},
		{with, "https://GIT.example.org/x/y", "https://GIT.example.org/x/y", false, ""},
		{with, "https://git.example.org:443/x/y", "https://git.example.org:443/x/y", true, ""},
		{with, "http://git.example.org/x/y", "http://git.example.org/x/y", false, ""},
		{with, "https://git.example.org:8443/x/y", "https://git.example.org:8443/x/y", false, ""},
		{with, "https://evil.example.org/x", "https://evil.example.org/x", false, ""},
		{with, "git@github.com:org/lib.git", "ssh://git@github.com/org/lib.git", false, ""},
		{own, "https://git.example.org/x", "https://git.example.org/x", false, "ada"},
		{own, "https://evil.example.org/x", "https://evil.example.org/x", false, ""},
	} {
		got, err := moduleSpec(tt.parent, tt.parent, tt.url)
		if err != nil || got.URL != tt.want || got.Auth.BearerToken != "" != tt.trusted || got.Auth.Username != tt.username {
			t.Errorf("%s: %s, trusted %v, user %q, %v", tt.url, got.URL, got.Auth.BearerToken != "", got.Auth.Username, err)
		}
	}
	for _, bad := range []string{"file:///etc", "/etc", "ext::sh -c id", "git://h/x", "--upload-pack=id", "", "https://", "-oProxyCommand=id:x"} {
		if got, err := moduleSpec(with, with, bad); err == nil {
			t.Errorf("%q is accepted as %s", bad, got.URL)
		}
	}
}

func TestHostileModulesFilesAreRefused(t *testing.T) {
	for _, tt := range []struct{ path, url string }{
		{"../out", "../lib"}, {"/etc", "../lib"}, {".git/hooks", "../lib"}, {"a/.GIT", "../lib"}, {"lib", "file:///etc"}, {"lib", "ext::sh"},
	} {
		h := newHost(t, nil)
		one := h.commit(t, map[string]string{"f": "app"})
		commit := ""
		if tt.path == "lib" {
			commit = one
		}
		h.addModule(t, tt.path, tt.url, commit)
		m, spec := openMirror(t), Spec{URL: h.url(), Branch: "main"}
		tree, err := m.Submodules(t.Context(), spec, fetch(t, m, spec, nil))
		if err == nil && strings.Join(files(t, tree), " ") == ".gitmodules f" {
			continue // the parser dropped the entry
		}
		if err == nil || !strings.Contains(err.Error(), "submodule") {
			t.Errorf("%s %s: %v", tt.path, tt.url, err)
		}
	}
	// A repository that is its own submodule ends.
	h := newHost(t, nil)
	one := h.commit(t, map[string]string{"f": "x"})
	for range maxModuleDepth + 2 {
		h.addModule(t, "again", h.url(), one)
		one = git(t, h.work, "rev-parse", "HEAD")
		git(t, h.work, "rm", "-q", "--cached", "again")
		check(t, os.Remove(filepath.Join(h.work, ".gitmodules")))
	}
	m, spec := openMirror(t), Spec{URL: h.url(), Branch: "main"}
	if _, err := m.Submodules(t.Context(), spec, fetch(t, m, spec, nil)); err == nil || !strings.Contains(err.Error(), "nested") {
		t.Errorf("endless nesting: %v", err)
	}
}
