package source

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// IgnoreFile is the file whose patterns hold for the directory that it is in, and below.
const IgnoreFile = ".sourceignore"

// maxIgnoreRules bounds what a repository can make every look into its tree cost.
const maxIgnoreRules = 10_000

// Ignores shows the trees of one repository without what Flux would leave out of their artifacts. It remembers which
// directories hold no IgnoreFile, by their hashes, so that a new revision is searched only where it changed. Safe for
// concurrent use; the zero value is ready.
type Ignores struct {
	mu   sync.Mutex
	none map[string]bool // hash of a directory without any IgnoreFile below it
}

// View shows t without what is left out by, in rising priority: the IgnoreFiles in t, parents first, and extra, patterns
// in the same format (spec.ignore). Where there is any rule, the rest of Flux's default exclusions hold no more, but for
// Git's own files; where there is none, all of them do.
//
// The rules are matched by go-git's gitignore package, the library that Flux matches with, path by path as Flux does
// when it packs an artifact. That differs from Git in ways that repositories rely on: a pattern with "!" brings a file
// back although a directory above it is excluded, and "a/**" excludes a itself.
func (i *Ignores) View(t Tree, extra string) (Tree, error) {
	root, err := Stat(t, ".")
	if err != nil {
		return nil, err
	}
	v := &ignoreTree{tree: t}
	sum := sha256.New()
	add := func(r io.Reader, domain []string) error {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			line := lines.Text()
			if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
				continue
			}
			if len(v.rules) == maxIgnoreRules {
				return gitFault("SLU-GIT-016", fmt.Sprintf("the repository has more than %d ignore patterns", maxIgnoreRules), "",
					"take patterns out of its "+IgnoreFile+" files or spec.ignore", nil)
			}
			v.rules = append(v.rules, gitignore.ParsePattern(line, domain))
			if r, ok := newReach(line, domain); ok {
				v.back = append(v.back, r)
			}
			fmt.Fprintf(sum, "%q %q\n", domain, line)
		}
		return nil
	}
	if _, err := i.search(t, nil, root.Hash, add); err != nil {
		return nil, err
	}
	if err := add(strings.NewReader(extra), nil); err != nil {
		return nil, err
	}
	if len(v.rules) == 0 {
		return Artifact(t), nil
	}
	v.rules = append(vcsRules(), v.rules...)
	v.mark = "~" + hex.EncodeToString(sum.Sum(nil)[:8])
	return v, nil
}

// vcsRules are what is left of Flux's default exclusions where a repository has rules of its own: Git's files.
func vcsRules() []gitignore.Pattern {
	rules := make([]gitignore.Pattern, len(excludedVCS))
	for i, pattern := range excludedVCS {
		rules[i] = gitignore.ParsePattern(pattern, nil)
	}
	return rules
}

// search reads every IgnoreFile below dir, parents first and in name order, and reports whether there was any.
func (i *Ignores) search(t Tree, dir []string, hash string, add func(io.Reader, []string) error) (bool, error) {
	if i.knows(hash) {
		return false, nil
	}
	at := path.Join(append([]string{"."}, dir...)...)
	entries, _, err := t.ReadDir(at)
	if err != nil {
		return false, err
	}
	found := false
	if n := slices.IndexFunc(entries, func(e Entry) bool { return e.Name == IgnoreFile && !e.Dir }); n >= 0 {
		data, _, err := t.ReadFile(path.Join(at, IgnoreFile))
		if err != nil {
			return false, err
		}
		if err := add(bytes.NewReader(data), dir); err != nil {
			return false, err
		}
		found = true
	}
	for _, e := range entries {
		if e.Dir {
			below, err := i.search(t, append(dir[:len(dir):len(dir)], e.Name), e.Hash, add)
			if err != nil {
				return false, err
			}
			found = found || below
		}
	}
	if !found {
		i.learn(hash)
	}
	return found, nil
}

func (i *Ignores) knows(hash string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.none[hash]
}

func (i *Ignores) learn(hash string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.none == nil || len(i.none) > 1<<17 {
		i.none = map[string]bool{}
	}
	i.none[hash] = true
}

// ignoreTree hides what its rules exclude. The hash of a directory is that of the whole directory with a mark of the
// rules: it changes with either.
type ignoreTree struct {
	tree  Tree
	rules []gitignore.Pattern // in rising priority
	back  []reach             // of the rules that begin with "!"
	mark  string
	holds sync.Map // path of an excluded directory → whether something below it is visible
}

func (t *ignoreTree) excludes(parts []string, dir bool) bool {
	for _, r := range slices.Backward(t.rules) {
		if m := r.Match(parts, dir); m != gitignore.NoMatch {
			return m == gitignore.Exclude
		}
	}
	return false
}

// shows says whether the entry e at p, whose names are parts, is visible. A directory that is excluded stays visible
// while something below it is not.
func (t *ignoreTree) shows(p string, parts []string, dir bool) (bool, error) {
	switch {
	case len(parts) == 0 || !t.excludes(parts, dir):
		return true, nil
	case !dir || !slices.ContainsFunc(t.back, func(r reach) bool { return r.below(parts) }):
		return false, nil
	}
	if known, ok := t.holds.Load(p); ok {
		return known.(bool), nil
	}
	entries, _, err := t.tree.ReadDir(p)
	if err != nil {
		return false, err
	}
	holds := false
	for _, e := range entries {
		if holds, err = t.shows(p+"/"+e.Name, append(parts[:len(parts):len(parts)], e.Name), e.Dir); err != nil {
			return false, err
		} else if holds {
			break
		}
	}
	t.holds.Store(p, holds)
	return holds, nil
}

// Stat returns the entry at path.
func (t *ignoreTree) Stat(p string) (Entry, error) {
	e, err := Stat(t.tree, p)
	if err != nil {
		return Entry{}, err
	}
	parts, _ := split(p)
	if ok, err := t.shows(p, parts, e.Dir); err != nil {
		return Entry{}, err
	} else if !ok {
		return Entry{}, notExist(p)
	}
	return t.marked(e), nil
}

func (t *ignoreTree) marked(e Entry) Entry {
	if e.Dir {
		e.Hash += t.mark
	}
	return e
}

// ReadFile implements Tree.
func (t *ignoreTree) ReadFile(p string) ([]byte, string, error) {
	if _, err := t.Stat(p); err != nil {
		return nil, "", err
	}
	return t.tree.ReadFile(p)
}

// ReadDir implements Tree.
func (t *ignoreTree) ReadDir(p string) ([]Entry, string, error) {
	if _, err := t.Stat(p); err != nil {
		return nil, "", err
	}
	all, hash, err := t.tree.ReadDir(p)
	if err != nil {
		return nil, "", err
	}
	parts, _ := split(p)
	entries := make([]Entry, 0, len(all))
	for _, e := range all {
		ok, err := t.shows(path.Join(p, e.Name), append(parts[:len(parts):len(parts)], e.Name), e.Dir)
		if err != nil {
			return nil, "", err
		}
		if ok {
			entries = append(entries, t.marked(e))
		}
	}
	return entries, hash + t.mark, nil
}

// reach tells under which directories a rule with "!" could bring something back, so that others need no search.
type reach struct {
	domain, names []string
	anywhere      bool // the rule names an entry at any depth
}

func newReach(line string, domain []string) (reach, bool) {
	rest, ok := strings.CutPrefix(line, "!")
	if !ok {
		return reach{}, false
	}
	if !strings.HasSuffix(rest, "\\ ") {
		rest = strings.TrimRight(rest, " ")
	}
	rest = strings.TrimSuffix(rest, "/")
	r := reach{domain: slices.Clone(domain), anywhere: !strings.Contains(rest, "/") || strings.Contains(rest, "**")}
	for _, name := range strings.Split(rest, "/") {
		if name != "" {
			r.names = append(r.names, name)
		}
	}
	return r, true
}

func (r reach) below(dir []string) bool {
	for i := range min(len(dir), len(r.domain)) {
		if dir[i] != r.domain[i] {
			return false
		}
	}
	if r.anywhere || len(dir) <= len(r.domain) {
		return true
	}
	dir = dir[len(r.domain):]
	for i := range min(len(dir), len(r.names)) {
		if ok, err := filepath.Match(r.names[i], dir[i]); err != nil || !ok {
			return false
		}
	}
	return true
}
