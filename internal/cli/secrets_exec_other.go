//go:build !unix

package cli

import (
	"errors"
	"os/exec"
)

// shell runs a command line that follows it, as sops does on Windows.
var shell = []string{"cmd.exe", "/C"}

func as(_ *exec.Cmd, name string) error {
	if name != "" {
		return errors.New("--user is not supported on this system")
	}
	return nil
}

func become(string, string, []string) error {
	return errors.New("--same-process is not supported on this system")
}
