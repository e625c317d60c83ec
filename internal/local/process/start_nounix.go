//go:build !unix

package process

import (
	"os"
	"os/exec"
	"syscall"
)

// No platform runs where there are no process groups (state.Supported); what follows only has to compile.

func attributes() *syscall.SysProcAttr { return nil }

func startOnOwnThread(cmd *exec.Cmd) error { return cmd.Start() }

func kill(pid int, _ syscall.Signal) { killGroup(pid) }

func killGroup(leader int) {
	if p, err := os.FindProcess(leader); err == nil {
		_ = p.Kill()
	}
}
