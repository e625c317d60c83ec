package gitpush

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/sluice-gitops/sluice/internal/source"
)

// Tree shows the head's files to the stages; symbolic links and submodules are left out, as from every source.Tree.
func (h *Head) Tree() source.Tree { return tree{h} }

// Files lets the head be walked and its files be read whole.
func (h *Head) Files() fs.FS { return files{h} }

type tree struct{ head *Head }

// ReadFile implements source.Tree.
func (t tree) ReadFile(name string) ([]byte, string, error) {
	e, err := t.head.entry(name)
	if err != nil {
		return nil, "", err
	}
	if e.Mode == filemode.Dir {
		return nil, "", &fs.PathError{Op: "read", Path: name, Err: source.ErrIsDir}
	}
	blob, err := object.GetBlob(t.head.store, e.Hash)
	if err != nil {
		return nil, "", err
	}
	data, err := content(blob)
	return data, e.Hash.String(), err
}

// ReadDir implements source.Tree.
func (t tree) ReadDir(name string) ([]source.Entry, string, error) {
	e, err := t.head.entry(name)
	if err != nil {
		return nil, "", err
	}
	if e.Mode != filemode.Dir {
		return nil, "", &fs.PathError{Op: "readdir", Path: name, Err: source.ErrNotDir}
	}
	dir, err := object.GetTree(t.head.store, e.Hash)
	if err != nil {
		return nil, "", err
	}
	var entries []source.Entry
	for _, c := range dir.Entries {
		if plain(c.Mode) {
			entries = append(entries, source.Entry{Name: c.Name, Dir: c.Mode == filemode.Dir, Hash: c.Hash.String()})
		}
	}
	return entries, e.Hash.String(), nil
}

func plain(m filemode.FileMode) bool {
	return m == filemode.Dir || m == filemode.Regular || m == filemode.Executable || m == filemode.Deprecated
}

// entry finds a file or directory; the root is ".".
func (h *Head) entry(name string) (*object.TreeEntry, error) {
	missing := &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	if h.tree == nil {
		return nil, missing
	}
	if name = path.Clean(name); name == "." {
		return &object.TreeEntry{Mode: filemode.Dir, Hash: h.tree.Hash}, nil
	}
	e, err := h.tree.FindEntry(strings.TrimPrefix(name, "/"))
	switch {
	case errors.Is(err, object.ErrEntryNotFound), errors.Is(err, object.ErrDirectoryNotFound), errors.Is(err, plumbing.ErrObjectNotFound):
		return nil, missing
	case err != nil:
		return nil, err
	case !plain(e.Mode):
		return nil, missing
	}
	return e, nil
}

type files struct{ head *Head }

// ReadFile implements fs.ReadFileFS.
func (f files) ReadFile(name string) ([]byte, error) {
	data, _, err := tree(f).ReadFile(name)
	return data, err
}

// ReadDir implements fs.ReadDirFS.
func (f files) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, _, err := tree(f).ReadDir(name)
	if err != nil {
		return nil, err
	}
	list := make([]fs.DirEntry, len(entries))
	for i, e := range entries {
		list[i] = fs.FileInfoToDirEntry(info{e})
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

// Stat implements fs.StatFS, so that fs.WalkDir works.
func (f files) Stat(name string) (fs.FileInfo, error) {
	e, err := f.head.entry(name)
	if err != nil {
		return nil, err
	}
	return info{source.Entry{Name: path.Base(name), Dir: e.Mode == filemode.Dir}}, nil
}

// Open implements fs.FS; files are read whole, with ReadFile.
func (f files) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
}

// info is what a tree knows of an entry: neither its size nor when it was changed.
type info struct{ entry source.Entry }

func (i info) Name() string       { return i.entry.Name }
func (i info) Size() int64        { return 0 }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.entry.Dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.entry.Dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
