package source

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Sparse shows only what Flux checks out for spec.sparseCheckout: the files whose path begins with one of dirs, as
// text, so that "apps" shows apps/ and apps-old/ too. A leading "./" means nothing. A name in dirs that t does not hold is
// a fault.
func Sparse(t Tree, dirs []string) (Tree, error) {
	s := &sparseTree{tree: t}
	for _, dir := range dirs {
		at := strings.TrimPrefix(path.Clean("/"+dir), "/")
		if at == "" {
			return t, nil
		}
		if _, err := Stat(t, at); err != nil {
			return nil, gitFault("SLU-GIT-017", fmt.Sprintf("sparse checkout dir '%s' does not exist in repository", quoted(dir)), "",
				"correct spec.sparseCheckout, or add the directory", err)
		}
		s.prefixes = append(s.prefixes, strings.TrimPrefix(dir, "./"))
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", s.prefixes))
	s.mark = "^" + hex.EncodeToString(sum[:8])
	return s, nil
}

// sparseTree marks the hashes of the directories above its prefixes: what they show depends on the prefixes.
type sparseTree struct {
	tree     Tree
	prefixes []string
	mark     string
}

// inside says that everything at and below p is shown, above that p leads to something that is.
func (t *sparseTree) inside(p string, dir bool) bool {
	if dir {
		p += "/"
	}
	return slices.ContainsFunc(t.prefixes, func(prefix string) bool { return strings.HasPrefix(p, prefix) })
}

func (t *sparseTree) above(p string) bool {
	return p == "." || slices.ContainsFunc(t.prefixes, func(prefix string) bool { return strings.HasPrefix(prefix, p+"/") })
}

func (t *sparseTree) shown(p string, e Entry) (Entry, bool) {
	switch {
	case p != "." && t.inside(p, e.Dir):
		return e, true
	case e.Dir && t.above(p):
		e.Hash += t.mark
		return e, true
	}
	return Entry{}, false
}

// Stat returns the entry at path.
func (t *sparseTree) Stat(p string) (Entry, error) {
	e, err := Stat(t.tree, p)
	if err != nil {
		return Entry{}, err
	}
	e, ok := t.shown(p, e)
	if !ok {
		return Entry{}, notExist(p)
	}
	return e, nil
}

// ReadFile implements Tree.
func (t *sparseTree) ReadFile(p string) ([]byte, string, error) {
	if _, err := t.Stat(p); err != nil {
		return nil, "", err
	}
	return t.tree.ReadFile(p)
}

// ReadDir implements Tree.
func (t *sparseTree) ReadDir(p string) ([]Entry, string, error) {
	at, err := t.Stat(p)
	if err != nil {
		return nil, "", err
	}
	all, _, err := t.tree.ReadDir(p)
	if err != nil {
		return nil, "", err
	}
	entries := make([]Entry, 0, len(all))
	for _, e := range all {
		if e, ok := t.shown(path.Join(p, e.Name), e); ok {
			entries = append(entries, e)
		}
	}
	return entries, at.Hash, nil
}
