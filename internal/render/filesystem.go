package render

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/sluice-gitops/sluice/internal/source"
)

// mount is where kustomize sees the tree's root. It is not "/", so that a reference which climbs out of the tree finds
// nothing instead of being clamped to another file.
const mount = "/revision"

// absolute is the path under which kustomize knows p.
func absolute(p string) string { return path.Join(mount, p) }

// relative is absolute's inverse; false outside the tree.
func relative(p string) (string, bool) {
	p = path.Clean(p)
	if p == mount {
		return ".", true
	}
	return strings.CutPrefix(p, mount+"/")
}

func isKustomizationName(name string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), name)
}

func isManifestName(name string) bool {
	ext := path.Ext(name)
	return ext == ".yaml" || ext == ".yml"
}

// fileSystem shows kustomize the tree through the recorder, with an overlay: the kustomization that was generated or
// merged with the spec, and the documents that were opened. It is read-only, and used by one goroutine.
type fileSystem struct {
	ctx     context.Context // of the Render that the file system lives for; kustomize takes none
	rec     *recorder
	overlay map[string][]byte
	read    map[string][]byte // what was read of the tree, so that nothing is read twice

	// vetted, once set, holds the directories and files that the walk has judged. A kustomization file elsewhere is not
	// given to kustomize, which would otherwise follow references that nobody has seen.
	vetted func(path string) bool
	// err is the first failure that was not a plain "does not exist". kustomize wraps such an error in guesses of its own,
	// or drops it.
	err error
}

var _ filesys.FileSystem = (*fileSystem)(nil)

func newFileSystem(ctx context.Context, rec *recorder) *fileSystem {
	return &fileSystem{ctx: ctx, rec: rec, overlay: map[string][]byte{}, read: map[string][]byte{}}
}

var errReadOnly = errors.New("the tree of a revision is read-only")

// stat tells what kustomize finds at p, a path relative to the root.
func (f *fileSystem) stat(p string) (kind, error) {
	if _, ok := f.overlay[p]; ok {
		return isFile, nil
	}
	e, err := f.rec.stat(p)
	if err != nil {
		f.fail(err)
	}
	return e.kind, err
}

// load returns what kustomize reads at p, a path relative to the root.
func (f *fileSystem) load(p string) ([]byte, error) {
	if data, ok := f.overlay[p]; ok {
		return data, nil
	}
	if data, ok := f.read[p]; ok {
		return data, nil
	}
	data, err := f.rec.readFile(p)
	if err == nil {
		err = refuseBomb(p, data)
	}
	if err != nil {
		f.fail(err)
		return nil, err
	}
	f.read[p] = data
	return data, nil
}

func (f *fileSystem) fail(err error) {
	var tree *treeError
	if f.err == nil && (errors.As(err, &tree) || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, source.ErrIsDir)) {
		f.err = err
	}
}

// ReadFile is the one through which kustomize loads everything.
func (f *fileSystem) ReadFile(name string) ([]byte, error) {
	if err := f.ctx.Err(); err != nil {
		f.fail(err)
		return nil, err
	}
	p, ok := relative(name)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	data, err := f.load(p)
	if err == nil && f.vetted != nil && isKustomizationName(path.Base(p)) && !f.vetted(p) {
		f.fail(errors.New("kustomize reads " + p + ", which was not checked for remote references"))
		return nil, f.err
	}
	return data, err
}

func (f *fileSystem) kindOf(name string) kind {
	p, ok := relative(name)
	if !ok {
		return isMissing
	}
	k, err := f.stat(p)
	if err != nil {
		return isMissing
	}
	return k
}

// IsDir implements filesys.FileSystem.
func (f *fileSystem) IsDir(name string) bool { return f.kindOf(name) == isDir }

// Exists implements filesys.FileSystem.
func (f *fileSystem) Exists(name string) bool { return f.kindOf(name) != isMissing }

// CleanedAbs splits an existing path into its directory and, for a file, its name.
func (f *fileSystem) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	name = path.Clean(name)
	switch f.kindOf(name) {
	case isDir:
		return filesys.ConfirmedDir(name), "", nil
	case isFile:
		return filesys.ConfirmedDir(path.Dir(name)), path.Base(name), nil
	}
	return "", "", &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

// ReadDir implements filesys.FileSystem.
func (f *fileSystem) ReadDir(name string) ([]string, error) {
	p, ok := relative(name)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	entries, err := f.rec.list(p)
	if err != nil {
		f.fail(err)
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	return names, nil
}

// Open implements filesys.FileSystem.
func (f *fileSystem) Open(name string) (filesys.File, error) {
	data, err := f.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &file{Reader: strings.NewReader(string(data)), name: path.Base(name), size: int64(len(data))}, nil
}

// Glob and Walk are used by parts of kustomize that a build does not reach.

// Glob implements filesys.FileSystem.
func (f *fileSystem) Glob(string) ([]string, error) { return nil, errors.ErrUnsupported }

// Walk implements filesys.FileSystem.
func (f *fileSystem) Walk(string, filepath.WalkFunc) error { return errors.ErrUnsupported }

// Create implements filesys.FileSystem.
func (f *fileSystem) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir implements filesys.FileSystem.
func (f *fileSystem) Mkdir(string) error { return errReadOnly }

// MkdirAll implements filesys.FileSystem.
func (f *fileSystem) MkdirAll(string) error { return errReadOnly }

// RemoveAll implements filesys.FileSystem.
func (f *fileSystem) RemoveAll(string) error { return errReadOnly }

// WriteFile implements filesys.FileSystem.
func (f *fileSystem) WriteFile(string, []byte) error { return errReadOnly }

// file is an open file and its own FileInfo.
type file struct {
	*strings.Reader
	name string
	size int64
}

func (f *file) Close() error               { return nil }
func (f *file) Write([]byte) (int, error)  { return 0, errReadOnly }
func (f *file) Stat() (os.FileInfo, error) { return info{f}, nil }

type info struct{ *file }

func (i info) Name() string     { return i.name }
func (i info) Size() int64      { return i.size }
func (info) Mode() os.FileMode  { return 0o444 }
func (info) ModTime() time.Time { return time.Time{} }
func (info) IsDir() bool        { return false }
func (info) Sys() any           { return nil }
