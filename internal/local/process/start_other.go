//go:build unix && !linux

package process

import (
	"os/exec"
	"syscall"
)

// attributes makes the child a group leader. Without a death signal, children are found by the end of their standard
// input and by their recorded numbers.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func startOnOwnThread(cmd *exec.Cmd) error { return cmd.Start() }
