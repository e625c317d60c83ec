//go:build unix

package scratch

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Pipe puts a named pipe into the folder that yields data to its first reader. The writer ends with the folder: Close
// opens the other end once, if nobody has.
func (f *Folder) Pipe(name string, data []byte) (path string, err error) {
	path = filepath.Join(f.Path, filepath.Base(name))
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return "", &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		w, err := os.OpenFile(path, os.O_WRONLY, 0) // waits for a reader
		if err != nil {
			return
		}
		_, _ = w.Write(data)
		_ = w.Close()
	}()
	f.release = func() {
		select {
		case <-written:
			return
		default:
		}
		if r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
			_ = r.Close()
		}
	}
	return path, nil
}

// Give makes the folder and what is in it another user's.
func (f *Folder) Give(name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	return filepath.WalkDir(f.Path, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, -1)
	})
}
