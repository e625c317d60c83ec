package keyvault

import (
	"fmt"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Foresee tells a refusal that the vault has not pronounced yet, or that came past the SDK, in the words in which it
// would be explained: code is the innermost one, seen what was found, op the operation as permissions name it
// ("decrypt"). seen may hold Key Vault's own "oid=…", from which the refused principal is read.
func Foresee(status int, code, seen string, id KeyID, op string) *fault.Fault {
	f := &fault.Fault{
		Hop: fault.HopVault, Object: "key vault " + id.VaultName(), Err: &Refused{Status: status, Code: code},
		Seen: strings.TrimSuffix(strings.TrimSpace(fmt.Sprintf("HTTP %d %s: %s", status, code, shorten(seen))), ":"),
	}
	classify(f, status, code, seen, id, operation(op))
	return f
}

// Unreachable explains a request to the vault of id that brought no answer.
func Unreachable(err error, id KeyID) *fault.Fault { return unreachable(err, id) }

// Check refuses ids that name no key of a vault in one of Azure's clouds: nobody may be made to call another host.
func (id KeyID) Check() error { return id.check(DefaultSuffixes) }
