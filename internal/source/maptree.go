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
	root := &memDir{}
	for path, content := range files {
		if err := root.add(path, []byte(content)); err != nil {
			panic("source.MapTree: " + err.Error())
		}
	}
	root.seal()
	return root
}

// memDir is a directory held in memory; it is a Tree once it is sealed.
type memDir struct {
	dirs    map[string]*memDir
	files   map[string]memFile
	entries []Entry
	hash    string
}

type memFile struct {
	data []byte
	hash string
}

// makeDir returns the directory at parts, making what is missing.
func (d *memDir) makeDir(parts []string) (*memDir, error) {
	for _, name := range parts {
		if _, both := d.files[name]; both {
			return nil, fmt.Errorf("%q is a file and a directory", name)
		}
		if d.dirs[name] == nil {
			if d.dirs == nil {
				d.dirs = map[string]*memDir{}
			}
			d.dirs[name] = &memDir{}
		}
		d = d.dirs[name]
	}
	return d, nil
}

// add puts a file at a clean relative path, in place of one that stands there.
func (d *memDir) add(path string, data []byte) error {
	parts, ok := split(path)
	if !ok || len(parts) == 0 {
		return fmt.Errorf("%q is not a clean relative path", path)
	}
	name := parts[len(parts)-1]
	d, err := d.makeDir(parts[:len(parts)-1])
	if err != nil {
		return err
	}
	if d.dirs[name] != nil {
		return fmt.Errorf("%q is a file and a directory", name)
	}
	if d.files == nil {
		d.files = map[string]memFile{}
	}
	d.files[name] = memFile{data, contentHash(data)}
	return nil
}

// seal computes entries and hashes, after which nothing may be added.
func (d *memDir) seal() {
	for name, sub := range d.dirs {
		sub.seal()
		d.entries = append(d.entries, Entry{Name: name, Dir: true, Hash: sub.hash})
	}
	for name, f := range d.files {
		d.entries = append(d.entries, Entry{Name: name, Hash: f.hash})
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

func (d *memDir) walk(parts []string) *memDir {
	for _, name := range parts {
		if d = d.dirs[name]; d == nil {
			return nil
		}
	}
	return d
}

// ReadFile implements Tree.
func (d *memDir) ReadFile(path string) ([]byte, string, error) {
	parts, ok := split(path)
	if !ok {
		return nil, "", notExist(path)
	}
	if d.walk(parts) != nil {
		return nil, "", fmt.Errorf("%s: %w", path, ErrIsDir)
	}
	if parent := d.walk(parts[:len(parts)-1]); parent != nil {
		if f, found := parent.files[parts[len(parts)-1]]; found {
			return f.data, f.hash, nil
		}
	}
	return nil, "", notExist(path)
}

// ReadDir implements Tree.
func (d *memDir) ReadDir(path string) ([]Entry, string, error) {
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
