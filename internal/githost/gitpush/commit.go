package gitpush

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// Change says what to put on top of a branch, and as whom.
type Change struct {
	// Files returns what to write, by slash-separated path, given the head's files. It is asked again after a lost race.
	Files func(existing fs.FS) (map[string][]byte, error)
	// Check is shown the head as it will be, before it is pushed, and also where nothing changes; nil: no check.
	Check       func(*Head) error
	Message     string
	AuthorName  string
	AuthorEmail string
	Signer      *openpgp.Entity // signs the commit; nil: it is not signed
}

// Result is what a Commit came to.
type Result struct {
	Head    *Head // the branch with the files in it
	Changed bool  // false: the branch held all of it, nothing was pushed
	Rebased int   // how often somebody else was faster
}

const attempts = 5

// Commit puts the files on top of the branch in one commit and pushes it. In an empty repository it makes the branch.
// A push that lost a race is made again on the new head.
func (r Remote) Commit(ctx context.Context, branch string, c Change) (*Result, error) {
	for n := range attempts {
		head, err := r.Head(ctx, branch)
		if err != nil {
			return nil, err
		}
		files, err := c.Files(head.Files())
		if err != nil {
			return nil, err
		}
		next, objects, err := head.with(files, c)
		if err != nil {
			return nil, err
		}
		if c.Check != nil {
			if err := c.Check(next); err != nil {
				return nil, err
			}
		}
		if next == head {
			return &Result{Head: head, Rebased: n}, nil
		}
		refused := r.push(ctx, head, next, objects)
		if refused == nil {
			return &Result{Head: next, Changed: true, Rebased: n}, nil
		}
		// Servers tell a lost race in words of their own; that the branch has moved is said by the branch.
		now, err := r.read(ctx, branch)
		if err != nil || now.Commit == head.Commit || ctx.Err() != nil {
			return nil, r.explainPush(ctx, branch, refused)
		}
		if now.Commit == next.Commit { // it arrived, and only the answer was lost
			return &Result{Head: next, Changed: true, Rebased: n}, nil
		}
	}
	return nil, gitFault("SLU-GIT-044", fmt.Sprintf("others pushed to %s faster than this, %d times", branch, attempts), "", "run it again in a quieter moment", nil)
}

// with is head with the files in it, as a commit of its own, and the objects that a remote lacks. Where head holds all
// of them it is head itself.
func (h *Head) with(files map[string][]byte, c Change) (*Head, []plumbing.Hash, error) {
	w := &writing{store: h.store}
	var root plumbing.Hash
	if h.tree != nil {
		root = h.tree.Hash
	}
	changed, err := w.dir("", root, files)
	if err != nil {
		return nil, nil, err
	}
	if changed == root {
		return h, nil, nil
	}
	commit := &object.Commit{Message: c.Message, TreeHash: changed}
	commit.Author = object.Signature{Name: c.AuthorName, Email: c.AuthorEmail, When: time.Now()}
	commit.Committer = commit.Author
	if h.Commit != "" {
		commit.ParentHashes = []plumbing.Hash{plumbing.NewHash(h.Commit)}
	}
	if c.Signer != nil {
		if err := sign(commit, c.Signer); err != nil {
			return nil, nil, err
		}
	}
	hash, err := w.keep(commit)
	if err != nil {
		return nil, nil, err
	}
	tree, err := object.GetTree(h.store, changed)
	return &Head{Branch: h.Branch, Commit: hash.String(), store: h.store, tree: tree}, w.made, err
}

func sign(commit *object.Commit, signer *openpgp.Entity) error {
	unsigned := &plumbing.MemoryObject{}
	if err := commit.EncodeWithoutSignature(unsigned); err != nil {
		return err
	}
	text, err := unsigned.Reader()
	if err != nil {
		return err
	}
	var armored bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&armored, signer, text, nil); err != nil {
		return usage("the OpenPGP key can't sign", "name a key with a usable private half: --gpg-key-id ID")
	}
	commit.PGPSignature = armored.String() + "\n"
	return nil
}

// writing collects the objects of a commit.
type writing struct {
	store storer.EncodedObjectStorer
	made  []plumbing.Hash
}

// dir writes the directory at hash (zero: none) with the files in it, leaving every other entry as it is. at is its path.
func (w *writing) dir(at string, hash plumbing.Hash, files map[string][]byte) (plumbing.Hash, error) {
	t := &object.Tree{}
	if !hash.IsZero() {
		was, err := object.GetTree(w.store, hash)
		if err != nil {
			return hash, err
		}
		t.Entries = slices.Clone(was.Entries)
	}
	below := map[string]map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if dir, rest, nested := strings.Cut(name, "/"); nested {
			if below[dir] == nil {
				below[dir] = map[string][]byte{}
			}
			below[dir][rest] = files[name]
			continue
		}
		if err := w.file(t, at, name, files[name]); err != nil {
			return hash, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(below)) {
		var was plumbing.Hash
		if e := find(t, name); e != nil && e.Mode != filemode.Dir {
			return hash, inTheWay(path.Join(at, name), "a file", "a folder")
		} else if e != nil {
			was = e.Hash
		}
		now, err := w.dir(path.Join(at, name), was, below[name])
		if err != nil {
			return hash, err
		}
		put(t, name, filemode.Dir, now)
	}
	slices.SortFunc(t.Entries, func(a, b object.TreeEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	return w.keep(t)
}

func (w *writing) file(t *object.Tree, at, name string, data []byte) error {
	o := w.store.NewEncodedObject()
	o.SetType(plumbing.BlobObject)
	writer, err := o.Writer()
	if err != nil {
		return err
	}
	if _, err := writer.Write(data); err != nil {
		return err
	}
	mode := filemode.Regular
	if e := find(t, name); e != nil && e.Mode == filemode.Dir {
		return inTheWay(path.Join(at, name), "a folder", "a file")
	} else if e != nil && e.Mode == filemode.Executable {
		mode = e.Mode
	}
	hash, err := w.set(o)
	put(t, name, mode, hash)
	return err
}

// keep stores a tree or commit; what the store holds already is not sent again.
func (w *writing) keep(o interface {
	Encode(plumbing.EncodedObject) error
}) (plumbing.Hash, error) {
	e := w.store.NewEncodedObject()
	if err := o.Encode(e); err != nil {
		return plumbing.ZeroHash, err
	}
	return w.set(e)
}

func (w *writing) set(o plumbing.EncodedObject) (plumbing.Hash, error) {
	if w.store.HasEncodedObject(o.Hash()) == nil {
		return o.Hash(), nil
	}
	w.made = append(w.made, o.Hash())
	return w.store.SetEncodedObject(o)
}

// inTheWay refuses to replace what is not of the kind that is to be written: it is not ours to delete.
func inTheWay(name, is, want string) error {
	return gitFault("SLU-GIT-045", name+" is "+is+" in the repository", "it has to be "+want, "git mv "+name+" "+name+".old, commit, push, and run the command again", nil)
}

func find(t *object.Tree, name string) *object.TreeEntry {
	for i := range t.Entries {
		if t.Entries[i].Name == name {
			return &t.Entries[i]
		}
	}
	return nil
}

func put(t *object.Tree, name string, mode filemode.FileMode, hash plumbing.Hash) {
	if e := find(t, name); e != nil {
		e.Mode, e.Hash = mode, hash
		return
	}
	t.Entries = append(t.Entries, object.TreeEntry{Name: name, Mode: mode, Hash: hash})
}

// sortName is how Git orders a tree: a directory as if its name ended in a slash.
func sortName(e object.TreeEntry) string {
	if e.Mode == filemode.Dir {
		return e.Name + "/"
	}
	return e.Name
}

func content(b *object.Blob) ([]byte, error) {
	r, err := b.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
