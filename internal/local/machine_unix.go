//go:build unix

package local

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// freeDisk tells how many bytes this user may still write below dir.
func freeDisk(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}

// ownSession keeps the supervisor out of reach of the terminal's signals and its end.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
