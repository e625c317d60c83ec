package cli

import (
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// notReady is the fault of an object whose Ready condition is False. The controller writes a fault into the condition
// in one line, "hop: …; fix: …"; it is taken apart here so that the reader gets the same lines as elsewhere.
func notReady(object, message string) error {
	f := &fault.Fault{Hop: fault.HopHealth, Object: object, Seen: oneLine(message), Exit: fault.ExitNo}
	if hop, rest, ok := strings.Cut(f.Seen, ": "); ok && hops[fault.Hop(hop)] {
		f.Hop, f.Seen = fault.Hop(hop), rest
	}
	if seen, fix, ok := strings.Cut(f.Seen, "; fix: "); ok {
		f.Seen, f.Fix = seen, fix
	}
	return f
}

var hops = map[fault.Hop]bool{
	fault.HopGit: true, fault.HopDependency: true, fault.HopRender: true, fault.HopSOPS: true, fault.HopIdentity: true,
	fault.HopEntra: true, fault.HopVault: true, fault.HopKey: true, fault.HopKeyring: true, fault.HopAPI: true,
	fault.HopApply: true, fault.HopPrune: true, fault.HopHealth: true,
}
