//go:build !unix

package gitexec

import (
	"os/exec"
	"time"
)

// own ends the command alone: there are no process groups here, and a helper that outlives it holds nobody up.
func own(cmd *exec.Cmd) { cmd.WaitDelay = 5 * time.Second }
