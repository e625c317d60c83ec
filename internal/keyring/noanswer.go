package keyring

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// NoAnswer tells, instead of a context's own words, that a key service took longer than one request may. Errors of another
// kind come back as they are, and so do those of a caller who has left.
func NoAnswer(caller context.Context, err error, recipient string, limit time.Duration) error {
	if caller.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || fault.From(err) != nil {
		return err
	}
	return &fault.Fault{Code: "SLU-KEYRING-014", Hop: fault.HopKeyring, Object: recipient, Seen: "no answer within " + limit.String(),
		Why: "the key's service takes connections and says nothing, or a proxy or firewall on the way swallows the request",
		Fix: "ask the service itself whether it is well, or give it longer on a workstation: SLUICE_KEY_TIMEOUT=2m"}
}
