//go:build !unix

package local

import (
	"errors"
	"syscall"
)

// No platform runs here (state.Supported); what follows only has to compile.

func freeDisk(string) (uint64, error) { return 0, errors.ErrUnsupported }

func ownSession() *syscall.SysProcAttr { return nil }
