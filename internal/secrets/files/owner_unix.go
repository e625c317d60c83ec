//go:build unix

package files

import (
	"os"
	"syscall"
)

// keepOwner gives the new file the old one's owner and group, as far as this user may: only root can hand files to
// others, and root is who would otherwise take them away.
func keepOwner(path string, tmp *os.File) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = tmp.Chown(int(st.Uid), int(st.Gid))
	}
}
