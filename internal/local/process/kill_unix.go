//go:build unix

package process

import "syscall"

// kill sends sig to one process, which may have ended.
func kill(pid int, sig syscall.Signal) { _ = syscall.Kill(pid, sig) }

// killGroup ends every process of the group that leader heads or headed.
func killGroup(leader int) { _ = syscall.Kill(-leader, syscall.SIGKILL) }
