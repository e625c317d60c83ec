package cli

import (
	"os"

	"golang.org/x/sys/windows"
)

// Windows's older consoles print escape sequences as they stand, unless a program asks for more. What is no console has
// no mode, and stays as it is.
func init() {
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		var mode uint32
		if h := windows.Handle(f.Fd()); windows.GetConsoleMode(h, &mode) == nil {
			_ = windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
		}
	}
}
