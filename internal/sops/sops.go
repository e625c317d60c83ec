// Package sops opens and seals SOPS documents, by a document model of its own: packages store (the file formats), tree
// (what stands in them), metadata and recipient (what they say about themselves), cipher and shamir. The sops library
// judges them in the tests and is no part of the program; docs/decisions/0004-own-document-model.md says why.
//
// It stands at the door of the renderer: a document is opened as it stands in Git, byte for byte, because only then can
// its MAC be verified. It knows no cloud and no key file: it asks a Keyring for the data key.
//
// What the MAC promises is "nobody changed a value after sealing", not more: it covers the values in their order, not
// the names of keys, the types of encrypted values, the list of recipients or the rule that says what is encrypted, and
// whoever holds a recipient's public key can forge a whole document. Authenticity is the Git signature's business.
//
// It refuses documents above five MiB, aliases that multiply or contain themselves, and nesting that would overflow the
// stack, before a parser sees them. It never writes a file, and no error of it holds a value, encrypted or not.
package sops

import (
	"context"
	"fmt"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops/metadata"
)

// MaxSize is the largest document that is opened or sealed, in bytes: Flux's limit.
const MaxSize = 5 << 20

// Metadata is what a document says about itself: recipients, rules, MAC.
type Metadata = metadata.Metadata

// Keyring gives the data key of a document, 32 bytes, that its identity can unwrap from the recipients in doc. Errors
// are faults of the hop that refused, or the context's. The caller may overwrite the returned slice.
type Keyring interface {
	DataKey(ctx context.Context, doc *Metadata) ([]byte, error)
}

// MACPolicy says what a document is worth whose MAC does not match.
type MACPolicy int

// The policies. The zero value is the strict one.
const (
	Enforce MACPolicy = iota // a mismatch is a fault
	Warn                     // a mismatch returns the plaintext together with a *MACWarning
	Off                      // the MAC is not looked at, as in Flux
)

// ParseMACPolicy reads a policy's name, as flags give it.
func ParseMACPolicy(s string) (MACPolicy, error) {
	for p := Enforce; p <= Off; p++ {
		if p.String() == s {
			return p, nil
		}
	}
	return Enforce, fmt.Errorf("MAC policy %q: want enforce, warn or off", s)
}

// String gives the policy's name.
func (p MACPolicy) String() string {
	switch p {
	case Enforce:
		return "enforce"
	case Warn:
		return "warn"
	}
	return "off"
}

// MACWarning comes with valid plaintext when the policy is Warn and the MAC does not match. It is the only error that
// Open returns beside data.
type MACWarning struct{ Fault *fault.Fault }

// Error gives the fault's line.
func (w *MACWarning) Error() string { return w.Fault.Error() }

// Unwrap returns the fault.
func (w *MACWarning) Unwrap() error { return w.Fault }
