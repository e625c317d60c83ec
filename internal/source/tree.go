package source

import (
	"errors"
	"io/fs"
)

// Tree is the file tree of one revision, read in place. Paths are slash-separated and relative to the repository's
// root, cleaned, without a leading slash or "./"; the root itself is ".". Only regular files and directories exist in
// it: symbolic links and submodules are left out, as they are from Flux's artifacts.
//
// A missing path gives an error that satisfies errors.Is(err, fs.ErrNotExist). Implementations are safe for concurrent
// use and never change once handed out.
type Tree interface {
	// ReadFile returns a file's content, which the caller must not modify, and the hash that identifies it: equal
	// hashes mean equal content, within and across revisions of one repository.
	ReadFile(path string) (data []byte, hash string, err error)
	// ReadDir returns a directory's entries in name order, and the hash that identifies the whole directory.
	ReadDir(path string) (entries []Entry, hash string, err error)
}

// Entry is one name in a directory.
type Entry struct {
	Name string
	Dir  bool
	Hash string // of the file's content, or of the whole directory below
}

// ErrNotExist is what a Tree answers, possibly wrapped, for a path that the revision does not hold.
var ErrNotExist = fs.ErrNotExist

// ErrIsDir and ErrNotDir say that a path holds the other kind.
var (
	ErrIsDir  = errors.New("is a directory")
	ErrNotDir = errors.New("not a directory")
)
