//go:build !linux

package scratch

import "os/exec"

// Other systems have no file system that can be told to be in memory.
func inMemory(string) bool { return false }

func detach(*exec.Cmd) {}

func shield() {}

// NoCore does nothing here.
func NoCore() {}
