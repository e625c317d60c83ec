package files

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// sops's exit codes for files.
const (
	exitCannotRead  = 2
	exitCannotWrite = 3
	exitNoFile      = 100
)

// File is a file as it was read.
type File struct {
	Path string // as it was named
	Data []byte
	mode fs.FileMode
}

// Read reads a whole regular file. Its faults have sops's exit codes.
func Read(path string) (*File, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fileFault("001", path, "there is no such file", "", "check the name: ls -la "+shell(filepath.Dir(path)), exitNoFile, err)
	case err != nil:
		return nil, fileFault("002", path, "the file cannot be read", reason(err), "check the permissions: ls -la "+shell(filepath.Dir(path)), exitCannotRead, err)
	case !info.Mode().IsRegular():
		return nil, fileFault("003", path, "it is not a file", "it is a "+kind(info.Mode()), "name a file", exitCannotRead, nil)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fileFault("002", path, "the file cannot be read", reason(err), "chmod u+r "+shell(path), exitCannotRead, err)
	}
	return &File{Path: path, Data: data, mode: info.Mode().Perm()}, nil
}

// Writable tells, before any work is done, whether Replace would refuse.
func (f *File) Writable() error {
	info, err := os.Lstat(f.Path)
	if err != nil {
		return fileFault("004", f.Path, "the file cannot be written", reason(err), "check the folder: ls -la "+shell(filepath.Dir(f.Path)), exitCannotWrite, err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := filepath.EvalSymlinks(f.Path)
		if err != nil {
			target = "its target"
		}
		return fileFault("005", f.Path, "it is a symbolic link", "writing would put a file in the place of the link", "name the file that it points to: "+shell(target), exitCannotWrite, nil)
	}
	if info.Mode().Perm()&0o200 == 0 {
		return fileFault("006", f.Path, "the file is read-only", fmt.Sprintf("its mode is %#o: somebody meant it to stay as it is", info.Mode().Perm()),
			"chmod u+w "+shell(f.Path), exitCannotWrite, nil)
	}
	return nil
}

// Replace puts data in the place of the file's content, or leaves the file as it is and returns a fault. A file that was
// changed since it was read is left alone.
func (f *File) Replace(data []byte) error {
	if err := f.Writable(); err != nil {
		return err
	}
	now, err := os.ReadFile(f.Path)
	if err != nil || !bytes.Equal(now, f.Data) {
		return fileFault("007", f.Path, "the file was changed while it was worked on", "another program wrote it in between; nothing was overwritten", "run the command again", exitCannotWrite, err)
	}
	return write(f.Path, data, f.mode)
}

// Write makes or replaces a file. A new one gets mode 0600, for it may hold plaintext.
func Write(path string, data []byte) error {
	mode := fs.FileMode(0o600)
	f := &File{Path: path}
	if info, err := os.Lstat(path); err == nil {
		if err := f.Writable(); err != nil {
			return err
		}
		mode = info.Mode().Perm()
	}
	return write(path, data, mode)
}

// write is the only place that puts bytes on a disk: beside the file, synced, then renamed over it.
func write(path string, data []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	failed := func(err error) error {
		return fileFault("004", path, "the file cannot be written", reason(err), "check the folder and the space that is left: ls -lad "+shell(dir)+"; df "+shell(dir), exitCannotWrite, err)
	}
	tmp, err := os.CreateTemp(dir, ".sluice-*")
	if err != nil {
		return failed(err)
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	keepOwner(path, tmp)
	if err := tmp.Chmod(mode); err != nil {
		return failed(err)
	}
	if _, err := tmp.Write(data); err != nil {
		return failed(err)
	}
	if err := tmp.Sync(); err != nil {
		return failed(err)
	}
	if err := tmp.Close(); err != nil {
		return failed(err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return failed(err)
	}
	if d, err := os.Open(dir); err == nil { // the name is on the disk only when its folder is
		_ = d.Sync()
		d.Close()
	}
	return nil
}

func fileFault(number, path, seen, why, fix string, exit int, err error) *fault.Fault {
	return &fault.Fault{Code: "SLU-FILE-" + number, Hop: fault.HopUsage, File: path, Seen: seen, Why: why, Fix: fix, Exit: exit, Err: err}
}

// reason is an error of the file system without the path, which the fault names anyway.
func reason(err error) string {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err.Error()
	case errors.As(err, &l):
		return l.Err.Error()
	}
	return err.Error()
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "folder"
	case m&fs.ModeNamedPipe != 0:
		return "pipe"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}
