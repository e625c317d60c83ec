package render

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-gitops/sluice/internal/source"
)

// Input is one thing in the tree that a render depended on.
//
//	file                {Path, Hash}             its content, under the tree's own hash
//	directory listing   {Path, Hash, Dir}        the names in it that generation looks at, not what is below them
//	directory           {Path, Dir}              only that it is one
//	nothing             {Path, Missing}          that nothing is there
type Input struct {
	Path    string // slash-separated, relative to the tree's root
	Hash    string
	Dir     bool
	Missing bool
}

// Unchanged says whether tree holds what inputs recorded in another revision of the same repository, so that rendering it
// with an otherwise equal request gives the same result. It reads each directory concerned once and no file. A tree that
// cannot be read counts as changed.
func Unchanged(tree source.Tree, inputs []Input) bool {
	v := NewView(tree)
	for _, in := range inputs {
		e, err := v.stat(in.Path)
		if err != nil {
			return false
		}
		switch {
		case in.Missing:
			if e.kind != isMissing {
				return false
			}
		case !in.Dir:
			if e.kind != isFile || e.hash != in.Hash {
				return false
			}
		case e.kind != isDir:
			return false
		case in.Hash != "":
			list, err := v.list(in.Path)
			if err != nil || list == nil || list.hash() != in.Hash {
				return false
			}
		}
	}
	return true
}

type kind int

const (
	isMissing kind = iota
	isFile
	isDir
)

// entry is what stands at a path.
type entry struct {
	kind kind
	hash string
}

// treeError is a failure to read the tree, as opposed to what it holds.
type treeError struct{ err error }

func (e *treeError) Error() string { return "read the revision: " + e.err.Error() }
func (e *treeError) Unwrap() error { return e.err }

// View is a tree that remembers the directories it has read, for everything that is rendered from one revision: what
// hundreds of Kustomizations ask of the folder above theirs is read once. It is safe for concurrent use.
type View struct {
	tree source.Tree
	mu   sync.RWMutex
	dirs map[string]*listing // nil: no such directory
}

// NewView returns a View of tree, or tree itself if it is one.
func NewView(tree source.Tree) *View {
	if v, ok := tree.(*View); ok {
		return v
	}
	return &View{tree: tree, dirs: map[string]*listing{}}
}

// ReadFile implements source.Tree.
func (v *View) ReadFile(p string) (data []byte, hash string, err error) { return v.tree.ReadFile(p) }

// ReadDir implements source.Tree.
func (v *View) ReadDir(p string) (entries []source.Entry, hash string, err error) {
	return v.tree.ReadDir(p)
}

// listing is a directory's entries in name order.
type listing struct {
	entries []source.Entry
	hashed  func() string // see hash
}

func newListing(entries []source.Entry) *listing {
	byName := func(a, b source.Entry) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(entries, byName) {
		entries = slices.SortedFunc(slices.Values(entries), byName)
	}
	l := &listing{entries: entries}
	l.hashed = sync.OnceValue(l.sum)
	return l
}

func (l *listing) find(name string) (source.Entry, bool) {
	i, ok := slices.BinarySearchFunc(l.entries, name, func(e source.Entry, name string) int {
		return strings.Compare(e.Name, name)
	})
	if !ok {
		return source.Entry{}, false
	}
	return l.entries[i], true
}

// hash identifies the names that generation would look at: directories, YAML files and kustomization files. Anything else
// may come and go without changing what is generated.
func (l *listing) hash() string { return l.hashed() }

func (l *listing) sum() string {
	h := sha256.New()
	for _, e := range l.entries {
		switch {
		case e.Dir:
			h.Write([]byte(e.Name + "/\x00"))
		case isManifestName(e.Name) || isKustomizationName(e.Name):
			h.Write([]byte(e.Name + "\x00"))
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// list returns a directory's listing, nil if there is no such directory.
func (v *View) list(dir string) (*listing, error) {
	v.mu.RLock()
	l, ok := v.dirs[dir]
	v.mu.RUnlock()
	if ok {
		return l, nil
	}
	entries, _, err := v.tree.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, source.ErrNotDir):
		l = nil
	case err != nil:
		return nil, &treeError{err}
	default:
		l = newListing(entries)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dirs[dir] = l // a tree never changes, so it is the same whoever was first
	return l, nil
}

func (v *View) stat(p string) (entry, error) {
	dir, name := path.Split(p)
	if p == "." {
		l, err := v.list(".")
		if l == nil {
			return entry{}, err
		}
		return entry{kind: isDir}, nil
	}
	l, err := v.list(path.Clean(dir)) // Clean("") is "."
	if l == nil {
		return entry{}, err
	}
	e, ok := l.find(name)
	switch {
	case !ok:
		return entry{}, nil
	case e.Dir:
		return entry{kind: isDir}, nil
	}
	return entry{kind: isFile, hash: e.Hash}, nil
}

// recorder notes what a view was asked. It is safe for concurrent use.
type recorder struct {
	view *View
	mu   sync.Mutex
	seen map[string]Input
}

func newRecorder(tree source.Tree) *recorder {
	return &recorder{view: NewView(tree), seen: map[string]Input{}}
}

func (r *recorder) note(in Input) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.seen[in.Path]; ok && old.Hash != "" && in.Hash == "" {
		return // a listing says more than that the directory exists
	}
	r.seen[in.Path] = in
}

// stat tells what stands at p and records the answer.
func (r *recorder) stat(p string) (entry, error) {
	e, err := r.view.stat(p)
	if err == nil {
		r.note(Input{Path: p, Hash: e.hash, Dir: e.kind == isDir, Missing: e.kind == isMissing})
	}
	return e, err
}

// readFile reads a file and records it, or that it is missing or a directory, which give errors of those kinds.
func (r *recorder) readFile(p string) ([]byte, error) {
	e, err := r.stat(p)
	switch {
	case err != nil:
		return nil, err
	case e.kind == isMissing:
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	case e.kind == isDir:
		return nil, &fs.PathError{Op: "read", Path: p, Err: source.ErrIsDir}
	}
	data, _, err := r.view.tree.ReadFile(p)
	if err != nil {
		return nil, &treeError{err} // even "does not exist": its directory lists it
	}
	return data, nil
}

// list returns the entries of a directory that must exist, and records the listing.
func (r *recorder) list(p string) ([]source.Entry, error) {
	l, err := r.view.list(p)
	if err != nil {
		return nil, err
	}
	if l == nil {
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	r.note(Input{Path: p, Dir: true, Hash: l.hash()})
	return l.entries, nil
}

// inputs returns what was recorded, in path order.
func (r *recorder) inputs() []Input {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Input, 0, len(r.seen))
	for _, in := range r.seen {
		out = append(out, in)
	}
	slices.SortFunc(out, func(a, b Input) int { return strings.Compare(a.Path, b.Path) })
	return out
}
