//go:build !linux

package process

import (
	"os/exec"
	"strconv"
	"strings"

	"github.com/sluice-gitops/sluice/internal/local/state"
)

// startTime gives the process's start as ps prints it, or "" when there is no such process.
func startTime(pid int) string {
	out, err := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func marked(state.Dir) []state.Process { return nil }

// PortOwner can't be told here.
func PortOwner(int) string { return "" }
