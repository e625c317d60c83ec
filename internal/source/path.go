package source

import (
	"errors"
	"fmt"
	"strings"
)

// split cuts a clean relative path into its names; "." has none. It reports false for every spelling that a Tree does
// not hold: absolute, with empty, "." or ".." names, or with a NUL.
func split(path string) ([]string, bool) {
	if path == "." {
		return nil, true
	}
	if strings.IndexByte(path, 0) >= 0 {
		return nil, false
	}
	parts := strings.Split(path, "/")
	for _, name := range parts {
		if name == "" || name == "." || name == ".." {
			return nil, false
		}
	}
	return parts, true
}

func notExist(path string) error { return fmt.Errorf("%s: %w", path, ErrNotExist) }

// Stat returns the entry at path without reading a file's content: what to ask when only the hash is of interest. The
// root's entry is named ".". Errors are Tree's.
func Stat(t Tree, path string) (Entry, error) {
	if s, ok := t.(interface{ Stat(string) (Entry, error) }); ok {
		return s.Stat(path)
	}
	parts, ok := split(path)
	if !ok {
		return Entry{}, notExist(path)
	}
	if len(parts) == 0 {
		_, hash, err := t.ReadDir(".")
		return Entry{Name: ".", Dir: true, Hash: hash}, err
	}
	parent := "."
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		parent = path[:i]
	}
	entries, _, err := t.ReadDir(parent)
	if errors.Is(err, ErrNotDir) {
		err = notExist(path)
	}
	if err != nil {
		return Entry{}, err
	}
	name := parts[len(parts)-1]
	for _, e := range entries {
		if e.Name == name {
			return e, nil
		}
	}
	return Entry{}, notExist(path)
}
