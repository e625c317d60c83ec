//go:build unix

package state

import (
	"os"
	"syscall"
)

// Supported says whether a platform can run on this operating system.
func Supported() error { return nil }

func lockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

func closeOnExec(fd uintptr) { syscall.CloseOnExec(int(fd)) }
