package source

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sort"
	"strings"
)

// MapTree is a Tree over files held in memory, for tests: path to content. Hashes are SHA-256 of a file's content,
// and of a directory's entries. It panics on a path that no Tree can hold.
func MapTree(files map[string]string) Tree {
	root := &mapDir{dirs: map[string]*mapDir{}, files: map[string]string{}}
	for path, content := range files {
		parts, ok := split(path)
		if !ok || len(parts) == 0 {
			panic(fmt.Sprintf("source.MapTree: %q is not a clean relative path", path))
		}
		d := root
		for _, name := range parts[:len(parts)-1] {
			if d.dirs[name] == nil {
				d.dirs[name] = &mapDir{dirs: map[string]*mapDir{}, files: map[string]string{}}
			}
			d = d.dirs[name]
		}
		d.files[parts[len(parts)-1]] = content
	}
	root.seal()
	return root
}

type mapDir struct {
	dirs    map[string]*mapDir
	files   map[string]string
	entries []Entry
	hash    string
}

func (d *mapDir) seal() {
	for name, sub := range d.dirs {
		if _, both := d.files[name]; both {
			panic(fmt.Sprintf("source.MapTree: %q is a file and a directory", name))
		}
		sub.seal()
		d.entries = append(d.entries, Entry{Name: name, Dir: true, Hash: sub.hash})
	}
	for name, content := range d.files {
		d.entries = append(d.entries, Entry{Name: name, Hash: contentHash([]byte(content))})
	}
	sort.Slice(d.entries, func(i, j int) bool { return d.entries[i].Name < d.entries[j].Name })
	var b strings.Builder
	for _, e := range d.entries {
		fmt.Fprintf(&b, "%q %t %s\n", e.Name, e.Dir, e.Hash)
	}
	d.hash = contentHash([]byte(b.String()))
}

func contentHash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (d *mapDir) walk(parts []string) *mapDir {
	for _, name := range parts {
		if d = d.dirs[name]; d == nil {
			return nil
		}
	}
	return d
}

// ReadFile implements Tree.
func (d *mapDir) ReadFile(path string) ([]byte, string, error) {
	parts, ok := split(path)
	if !ok {
		return nil, "", notExist(path)
	}
	if d.walk(parts) != nil {
		return nil, "", fmt.Errorf("%s: %w", path, ErrIsDir)
	}
	if parent := d.walk(parts[:len(parts)-1]); parent != nil {
		if content, found := parent.files[parts[len(parts)-1]]; found {
			return []byte(content), contentHash([]byte(content)), nil
		}
	}
	return nil, "", notExist(path)
}

// ReadDir implements Tree.
func (d *mapDir) ReadDir(path string) ([]Entry, string, error) {
	parts, ok := split(path)
	if !ok {
		return nil, "", notExist(path)
	}
	if at := d.walk(parts); at != nil {
		return append([]Entry(nil), at.entries...), at.hash, nil
	}
	if _, _, err := d.ReadFile(path); err == nil {
		return nil, "", fmt.Errorf("%s: %w", path, ErrNotDir)
	}
	return nil, "", notExist(path)
}
