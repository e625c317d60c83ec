//go:build !unix

package store

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// lockFile refuses: without a lock that dies with its process, two emulators could overwrite each other's keys.
func lockFile(*os.File) error {
	return fmt.Errorf("a folder of the emulator on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
