package source

import (
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// gitTree reads a commit's tree out of a store. Hashes are Git's own object hashes, so a directory that two revisions
// share has one hash and is parsed once.
type gitTree struct {
	store *store
	root  plumbing.Hash
}

// directory is a parsed tree object: what a Tree shows of it, in name order, with the binary hashes alongside.
type directory struct {
	entries []Entry
	hashes  []plumbing.Hash
	modules map[string]plumbing.Hash // submodules: the commit by name
}

func (d *directory) find(name string) int {
	i := sort.Search(len(d.entries), func(i int) bool { return d.entries[i].Name >= name })
	if i < len(d.entries) && d.entries[i].Name == name {
		return i
	}
	return -1
}

// ReadFile implements Tree.
func (t *gitTree) ReadFile(path string) ([]byte, string, error) {
	hash, isDir, err := t.resolve(path)
	if err != nil {
		return nil, "", err
	}
	if isDir {
		return nil, "", fmt.Errorf("%s: %w", path, ErrIsDir)
	}
	o, err := t.store.object(hash, plumbing.BlobObject)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	data, err := content(o)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, t.store.damage(err))
	}
	return data, hash.String(), nil
}

func content(o plumbing.EncodedObject) ([]byte, error) {
	r, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, o.Size())
	_, err = io.ReadFull(r, data)
	return data, err
}

// ReadDir implements Tree.
func (t *gitTree) ReadDir(path string) ([]Entry, string, error) {
	hash, isDir, err := t.resolve(path)
	if err != nil {
		return nil, "", err
	}
	if !isDir {
		return nil, "", fmt.Errorf("%s: %w", path, ErrNotDir)
	}
	d, err := t.store.directory(hash)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	return append([]Entry(nil), d.entries...), hash.String(), nil
}

// Stat returns the entry at path; only directories are read.
func (t *gitTree) Stat(path string) (Entry, error) {
	hash, isDir, err := t.resolve(path)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Name: path[strings.LastIndexByte(path, '/')+1:], Dir: isDir, Hash: hash.String()}, nil
}

// resolve walks from the root to path, through directories only: what lies behind a symbolic link does not exist.
func (t *gitTree) resolve(path string) (hash plumbing.Hash, isDir bool, err error) {
	parts, ok := split(path)
	if !ok {
		return hash, false, notExist(path)
	}
	hash, isDir = t.root, true
	for _, name := range parts {
		if !isDir {
			return hash, false, notExist(path)
		}
		d, err := t.store.directory(hash)
		if err != nil {
			return hash, false, fmt.Errorf("%s: %w", path, err)
		}
		i := d.find(name)
		if i < 0 {
			return hash, false, notExist(path)
		}
		hash, isDir = d.hashes[i], d.entries[i].Dir
	}
	return hash, isDir, nil
}

// directory returns a parsed tree object, from the cache if it is there. The cache is emptied when it is full: it
// refills from what is still in use.
func (s *store) directory(h plumbing.Hash) (*directory, error) {
	s.mu.RLock()
	d := s.dirs[h]
	s.mu.RUnlock()
	if d != nil {
		return d, nil
	}
	o, err := s.object(h, plumbing.TreeObject)
	if err != nil {
		return nil, err
	}
	if d, err = parseDirectory(o); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if len(s.dirs) >= cacheDirs {
		clear(s.dirs)
	}
	s.dirs[h] = d
	s.mu.Unlock()
	return d, nil
}

func parseDirectory(o plumbing.EncodedObject) (*directory, error) {
	var tree object.Tree
	if err := tree.Decode(o); err != nil {
		return nil, gitFault("SLU-GIT-015", "a directory of this revision is malformed", err.Error(), "run `git fsck` on the repository", nil)
	}
	sort.Slice(tree.Entries, func(i, j int) bool { return tree.Entries[i].Name < tree.Entries[j].Name })
	d := &directory{}
	last := ""
	for _, e := range tree.Entries {
		if !allowedName(e.Name) || e.Name == last {
			return nil, gitFault("SLU-GIT-015", fmt.Sprintf("a directory of this revision holds the name %q", e.Name),
				"no Git client writes such a name, or one twice", "run `git fsck` on the repository", nil)
		}
		last = e.Name
		switch e.Mode {
		case filemode.Regular, filemode.Executable, filemode.Deprecated, filemode.Dir:
			d.entries = append(d.entries, Entry{Name: e.Name, Dir: e.Mode == filemode.Dir, Hash: e.Hash.String()})
			d.hashes = append(d.hashes, e.Hash)
		case filemode.Submodule:
			if d.modules == nil {
				d.modules = map[string]plumbing.Hash{}
			}
			d.modules[e.Name] = e.Hash
		}
	}
	return d, nil
}

// allowedName refuses what Git itself refuses to check out.
func allowedName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00") && !strings.EqualFold(name, ".git")
}
