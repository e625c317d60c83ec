package state

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrLocked says that another process runs the platform of this folder.
var ErrLocked = errors.New("the platform is locked by a running process")

// Lock is the right to run the platform of one Dir. It lives as long as any process holds the open file: `sluice up`
// hands it to the supervisor it starts, and a killed process lets go of it by dying.
type Lock struct{ file *os.File }

// Acquire takes d's lock without waiting, or returns ErrLocked.
func Acquire(d Dir) (*Lock, error) {
	f, err := os.OpenFile(d.LockFile(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, unusable(d, err)
	}
	if err := lockFile(f); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", d.LockFile(), err)
	}
	return &Lock{f}, nil
}

// Inherit takes over d's lock, which the parent process passed as file descriptor fd.
func Inherit(fd uintptr, d Dir) (*Lock, error) {
	f := os.NewFile(fd, d.LockFile())
	given, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("no lock was handed over: %w", err)
	}
	file, err := os.Stat(d.LockFile())
	if err != nil {
		return nil, err
	}
	if !os.SameFile(given, file) {
		return nil, fmt.Errorf("file descriptor %d is not %s", fd, d.LockFile())
	}
	closeOnExec(fd)
	return &Lock{f}, nil
}

// File is the open lock file, to be passed to a child that takes the lock over.
func (l *Lock) File() *os.File { return l.file }

// Release lets go of this process's hold. A child that inherited the lock keeps it.
func (l *Lock) Release() error { return l.file.Close() }
