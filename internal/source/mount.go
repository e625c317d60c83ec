package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// ErrExist says that a path where something is to be mounted holds something already.
var ErrExist = errors.New("exists already")

// Mount shows base with what other holds at from (a file, or a directory with everything below it) at the path at as
// well, and the directories above it. Both paths are clean and relative; at is not ".". If base holds at already, the
// error is ErrExist; if a file stands above it, ErrNotDir; if other does not hold from, ErrNotExist.
func Mount(base Tree, at string, other Tree, from string) (Tree, error) {
	parts, ok := split(at)
	if !ok || len(parts) == 0 {
		return nil, fmt.Errorf("%s: %w", at, ErrExist)
	}
	for i := range parts {
		p := strings.Join(parts[:i+1], "/")
		e, err := Stat(base, p)
		switch {
		case errors.Is(err, ErrNotExist):
		case err != nil:
			return nil, err
		case p == at:
			return nil, fmt.Errorf("%s: %w", at, ErrExist)
		case !e.Dir:
			return nil, fmt.Errorf("%s: %w", p, ErrNotDir)
		}
	}
	e, err := Stat(other, from)
	if err != nil {
		return nil, err
	}
	e.Name = parts[len(parts)-1]
	return &mountTree{base: base, at: at, other: other, from: from, entry: e}, nil
}

// mountTree gives the directories above at a hash of their own.
type mountTree struct {
	base, other Tree
	at, from    string
	entry       Entry // what stands at at
}

// inner maps a path at or below at to one of other.
func (t *mountTree) inner(p string) (string, bool) {
	if p == t.at {
		return t.from, true
	}
	rest, ok := strings.CutPrefix(p, t.at+"/")
	return path.Join(t.from, rest), ok
}

func (t *mountTree) above(p string) bool { return p == "." || strings.HasPrefix(t.at, p+"/") }

// Stat returns the entry at path.
func (t *mountTree) Stat(p string) (Entry, error) {
	if _, ok := split(p); !ok {
		return Entry{}, notExist(p)
	}
	if in, ok := t.inner(p); ok {
		if p == t.at {
			return t.entry, nil
		}
		return Stat(t.other, in)
	}
	e, err := Stat(t.base, p)
	if !t.above(p) || err != nil && !errors.Is(err, ErrNotExist) {
		return e, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s %t", e.Hash, t.at, t.entry.Hash, t.entry.Dir))
	return Entry{Name: path.Base(p), Dir: true, Hash: hex.EncodeToString(sum[:])}, nil
}

// ReadFile implements Tree.
func (t *mountTree) ReadFile(p string) ([]byte, string, error) {
	if _, ok := split(p); !ok {
		return nil, "", notExist(p)
	}
	if in, ok := t.inner(p); ok {
		return t.other.ReadFile(in)
	}
	if t.above(p) {
		return nil, "", fmt.Errorf("%s: %w", p, ErrIsDir)
	}
	return t.base.ReadFile(p)
}

// ReadDir implements Tree.
func (t *mountTree) ReadDir(p string) ([]Entry, string, error) {
	if _, ok := split(p); !ok {
		return nil, "", notExist(p)
	}
	if in, ok := t.inner(p); ok {
		return t.other.ReadDir(in)
	}
	entries, hash, err := t.base.ReadDir(p)
	if !t.above(p) || err != nil && !errors.Is(err, ErrNotExist) {
		return entries, hash, err
	}
	self, err := t.Stat(p)
	if err != nil {
		return nil, "", err
	}
	below := strings.TrimPrefix(t.at, p+"/")
	name, _, _ := strings.Cut(below, "/")
	next, err := t.Stat(path.Join(p, name))
	if err != nil {
		return nil, "", err
	}
	i, found := slices.BinarySearchFunc(entries, name, func(e Entry, name string) int { return strings.Compare(e.Name, name) })
	if found {
		entries[i] = next
	} else {
		entries = slices.Insert(entries, i, next)
	}
	return entries, self.Hash, nil
}
