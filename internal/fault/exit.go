package fault

import (
	"context"
	"errors"
)

// Exit codes of the CLI. Verbs shared with sops return sops's own codes instead.
const (
	ExitOK          = 0
	ExitNo          = 1   // the answer is no: not ready, not found, differs
	ExitUsage       = 2   // wrong usage, or an internal error
	ExitCluster     = 3   // the Kubernetes API
	ExitSignIn      = 4   // Entra ID, or the pod's identity
	ExitGit         = 5   // the Git remote or repository
	ExitKey         = 6   // Key Vault, age, PGP, MAC
	ExitARM         = 7   // Azure Resource Manager
	ExitTimeout     = 8   // a deadline passed
	ExitInterrupted = 130 // Ctrl-C
)

var exitByHop = map[Hop]int{
	HopUsage: ExitUsage, HopPlatform: ExitUsage,
	HopAPI: ExitCluster, HopApply: ExitCluster, HopPrune: ExitCluster,
	HopIdentity: ExitSignIn, HopEntra: ExitSignIn,
	HopGit:  ExitGit,
	HopSOPS: ExitKey, HopVault: ExitKey, HopKey: ExitKey, HopKeyring: ExitKey,
	HopARM:    ExitARM,
	HopRender: ExitNo, HopHealth: ExitNo, HopDependency: ExitNo,
}

// ExitCode maps an error to the process's exit code: the fault's own, else its hop's, else by the context error, else
// ExitUsage. A nil error is ExitOK.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	if f := From(err); f != nil {
		if f.Exit != 0 {
			return f.Exit
		}
		if c, ok := exitByHop[f.Hop]; ok {
			return c
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return ExitTimeout
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	return ExitUsage
}
