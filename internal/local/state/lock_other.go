//go:build !unix

package state

import (
	"os"
	"runtime"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Supported says whether a platform can run on this operating system: a *fault.Fault where it can't.
func Supported() error {
	return &fault.Fault{Code: "SLU-PLATFORM-008", Hop: fault.HopPlatform,
		Seen: "the local platform is not supported on " + runtime.GOOS,
		Why:  "it needs process groups, inherited file locks and signals as Linux and macOS have them",
		Fix:  "run sluice up inside WSL (wsl --install); every other command works here"}
}

func lockFile(*os.File) error { return Supported() }

func closeOnExec(uintptr) {}
