package scratch

import (
	"os/exec"
	"os/signal"
	"syscall"
)

// What statfs(2) calls the file systems that live in memory.
const (
	tmpfsMagic = 0x01021994
	ramfsMagic = 0x858458f6
)

func inMemory(dir string) bool {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil {
		return false
	}
	kind := uint32(st.Type)
	return kind == tmpfsMagic || kind == ramfsMagic
}

// detach puts the watcher into a session of its own: neither Ctrl-C nor the terminal's end reaches it.
func detach(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

func shield() { signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE) }

// NoCore keeps this process and its children from dumping core, which would put memory on a disk.
func NoCore() { _ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) }
