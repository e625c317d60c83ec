// Package fault is how a failure is told: the hop of the chain that broke, what was seen there, why that stops the
// work, and what mends it.
//
// Every stage returns ordinary wrapped errors, with a *Fault somewhere in the chain as soon as a package knows enough
// to fill one. The edges (status conditions, events, the CLI, JSON output) read it with From and never compose such
// texts themselves.
//
// The package refuses to guess: an error without a Fault in its chain keeps its own words, and has neither hop nor fix.
// It knows no secret either: whoever fills a Fault keeps values out of it.
package fault

import (
	"errors"
	"strings"
)

// Hop names one link of the chain from Git to a healthy object. The order of the constants is the order of the walk.
type Hop string

// The hops, in the order in which a revision travels through them.
const (
	HopPlatform   Hop = "platform"         // the machine that `sluice up` runs on
	HopGit        Hop = "git"              // remote to revision
	HopDependency Hop = "dependency"       // dependsOn
	HopRender     Hop = "render"           // tree to objects
	HopSOPS       Hop = "sops"             // the encrypted document: format, recipients, MAC
	HopIdentity   Hop = "identity"         // the pod's Azure environment and its service-account token
	HopEntra      Hop = "entra"            // token exchange
	HopVault      Hop = "vault"            // Key Vault's access decision
	HopKey        Hop = "key"              // the key and its version
	HopKeyring    Hop = "keyring"          // age and PGP identities from Secrets
	HopAPI        Hop = "kubernetes"       // the API server
	HopApply      Hop = "apply"            // server-side apply
	HopPrune      Hop = "prune"            // deletion of what left the revision
	HopHealth     Hop = "health"           // the applied objects' own state
	HopARM        Hop = "resource-manager" // Azure Resource Manager
	HopUsage      Hop = "usage"            // flags and arguments
)

// Fault is one failure, told so that its reader can mend it. Seen is the only field that must be set besides Hop.
type Fault struct {
	Code   string `json:"code,omitempty"`   // stable identifier, SLU-<HOP>-<NNN>
	Hop    Hop    `json:"hop"`              // where
	Object string `json:"object,omitempty"` // the Kubernetes or Azure object concerned
	File   string `json:"file,omitempty"`   // path inside the revision, when one file is at fault
	Seen   string `json:"seen"`             // what was observed, with the peer's own code where it sent one
	Why    string `json:"why,omitempty"`    // the cause, as far as it is known
	Fix    string `json:"fix,omitempty"`    // a complete command, or one sentence
	Reason string `json:"reason,omitempty"` // condition reason in Flux's vocabulary; empty: the caller's default
	Exit   int    `json:"exit,omitempty"`   // process exit code; 0: the hop's default
	Err    error  `json:"-"`                // what was wrapped
}

// Error gives the fault in one line: where, what was seen, why, and the fix last.
func (f *Fault) Error() string {
	var b strings.Builder
	b.WriteString(string(f.Hop))
	if f.Object != "" {
		b.WriteString(": " + f.Object)
	}
	if f.File != "" {
		b.WriteString(": " + f.File)
	}
	b.WriteString(": " + f.Seen)
	if f.Why != "" {
		b.WriteString(": " + f.Why)
	}
	if f.Fix != "" {
		b.WriteString("; fix: " + f.Fix)
	}
	return b.String()
}

// Unwrap returns the error that the fault explains.
func (f *Fault) Unwrap() error { return f.Err }

// From returns the outermost Fault in err's chain, or nil.
func From(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return nil
}

// Multiline gives the fault as the CLI prints it: a headline, then hop, why and fix on lines of their own, indented
// under the headline. It ends without a newline.
func (f *Fault) Multiline() string {
	subject := f.Object
	if f.File != "" {
		subject = strings.TrimPrefix(subject+" "+f.File, " ")
	}
	lines := []string{f.Seen}
	if subject != "" {
		lines[0] = subject + ": " + f.Seen
	}
	add := func(label, text string) {
		if text != "" {
			lines = append(lines, "  "+label+"  "+strings.ReplaceAll(text, "\n", "\n       "))
		}
	}
	hop := string(f.Hop)
	if f.Code != "" {
		hop += " (" + f.Code + ")"
	}
	add("hop", hop)
	add("why", f.Why)
	add("fix", f.Fix)
	return strings.Join(lines, "\n")
}
