package source

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestDirTreeShowsFilesAndFoldersAndNothingElse(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	for name, content := range map[string]string{"a.yaml": "a", "sub/b.yaml": "b", ".git/config": "secret", "sub/.git": "gitdir: x"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"out": outside, "sub/self": "..", "inner": "sub", "file": "a.yaml"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := DirTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	entries, _, err := tree.ReadDir(".")
	if err != nil || len(entries) != 2 || entries[0].Name != "a.yaml" || !entries[1].Dir {
		t.Errorf("ReadDir(.) = %+v, %v", entries, err)
	}
	data, hash, err := tree.ReadFile("sub/b.yaml")
	if err != nil || string(data) != "b" || hash == "" {
		t.Errorf("ReadFile = %q, %v", data, err)
	}
	for _, path := range []string{"out", "inner/b.yaml", "sub/self/a.yaml", "file", ".git/config", "sub/.git", "../x", "/etc/passwd", "nosuch", "a.yaml/x"} {
		if _, _, err := tree.ReadFile(path); !errors.Is(err, ErrNotExist) {
			t.Errorf("ReadFile(%s) = %v, want not exist", path, err)
		}
	}
	if _, _, err := tree.ReadFile("sub"); !errors.Is(err, ErrIsDir) {
		t.Errorf("ReadFile(sub) = %v", err)
	}
	if _, _, err := tree.ReadDir("a.yaml"); !errors.Is(err, ErrNotDir) {
		t.Errorf("ReadDir(a.yaml) = %v", err)
	}
	_, before, err := tree.ReadDir("sub")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "c.yaml"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, after, err := tree.ReadDir("sub"); err != nil || after == before {
		t.Errorf("a new file leaves the folder's hash as it was (%v)", err)
	}
}
