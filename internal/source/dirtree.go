package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// DirTree is a Tree over a folder as it stands on disk, for commands that render a working copy. It is read while it
// is asked, so it is a Tree only as long as nobody edits the folder. Nothing outside the folder is reachable; symbolic
// links and the folder .git are left out. Hashes are of a path, its size and its time of modification: equal ones mean
// the same untouched file.
func DirTree(dir string) (Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return dirTree{root}, nil
}

type dirTree struct{ root *os.Root }

func (d dirTree) stat(path string) (fs.FileInfo, error) {
	parts, ok := split(path)
	if !ok {
		return nil, notExist(path)
	}
	for _, name := range parts {
		if name == ".git" {
			return nil, notExist(path)
		}
	}
	// A link on the way is as absent as one at the end.
	for i := range parts {
		prefix := parts[0]
		for _, p := range parts[1 : i+1] {
			prefix += "/" + p
		}
		info, err := d.root.Lstat(prefix)
		switch {
		case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrNotExist):
			return nil, notExist(path)
		case err != nil:
			return nil, err
		case !info.IsDir() && !info.Mode().IsRegular():
			return nil, notExist(path)
		case i == len(parts)-1:
			return info, nil
		}
	}
	return d.root.Stat(".")
}

func infoHash(path string, info fs.FileInfo) string {
	return contentHash(fmt.Appendf(nil, "%q %d %d", path, info.Size(), info.ModTime().UnixNano()))
}

// ReadFile implements Tree.
func (d dirTree) ReadFile(path string) ([]byte, string, error) {
	info, err := d.stat(path)
	if err != nil {
		return nil, "", err
	}
	if info.IsDir() {
		return nil, "", fmt.Errorf("%s: %w", path, ErrIsDir)
	}
	data, err := d.root.ReadFile(path)
	return data, infoHash(path, info), err
}

// ReadDir implements Tree.
func (d dirTree) ReadDir(path string) ([]Entry, string, error) {
	info, err := d.stat(path)
	if err != nil {
		return nil, "", err
	}
	if !info.IsDir() {
		return nil, "", fmt.Errorf("%s: %w", path, ErrNotDir)
	}
	list, err := fs.ReadDir(d.root.FS(), path)
	if err != nil {
		return nil, "", err
	}
	entries, sum := []Entry{}, ""
	for _, e := range list {
		at, err := e.Info()
		if err != nil || e.Name() == ".git" || !e.IsDir() && !e.Type().IsRegular() {
			continue // gone since it was listed, or not part of a tree
		}
		h := infoHash(path+"/"+e.Name(), at)
		entries = append(entries, Entry{Name: e.Name(), Dir: e.IsDir(), Hash: h})
		sum += h
	}
	return entries, contentHash([]byte(sum)), nil
}
