package process

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// attributes makes the child a group leader that the kernel kills when the thread that forked it ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

type startRequest struct {
	cmd *exec.Cmd
	err chan error
}

var starter = sync.OnceValue(func() chan startRequest {
	requests := make(chan startRequest)
	go func() {
		// Linux ties the death signal to the forking thread, not to the process, and the Go runtime may end any
		// thread that isn't locked. This one is locked and never returns.
		runtime.LockOSThread()
		for r := range requests {
			r.err <- r.cmd.Start()
		}
	}()
	return requests
})

func startOnOwnThread(cmd *exec.Cmd) error {
	r := startRequest{cmd, make(chan error, 1)}
	starter() <- r
	return <-r.err
}
