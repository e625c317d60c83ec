// Package kms holds what the key services beside Key Vault have in common: how a request is tried again, and how a
// refusal is told. Its subpackages speak to AWS KMS, Google Cloud KMS, and the transit engine of HashiCorp Vault and
// OpenBao; package keyring chooses among them.
//
// It refuses to repeat what a service says: an error body may echo what it was sent. What becomes visible is the HTTP
// status, codes from closed lists, and names that the document holds in plain. It reads no environment and no file.
package kms

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Refused is the cause inside a fault: the service answered, with this status and code.
type Refused struct {
	Status int
	Code   string // of a closed list; empty: another one
	denied bool
}

// Error gives status and code.
func (r *Refused) Error() string {
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", r.Status, r.Code))
}

// Denied reports whether a service refused the identity itself, after which nothing that the identity unwrapped earlier
// may be served from memory.
func Denied(err error) bool {
	var r *Refused
	return errors.As(err, &r) && r.denied
}

// Kind is what a refusal means for who has to do something about it.
type Kind int

// The kinds. The zero value is for answers that say nothing about key or access.
const (
	Other           Kind = iota
	Unauthenticated      // the credentials are unknown, expired or malformed
	Forbidden            // the identity may not use the key
	NotFound             // there is no such key
	Unusable             // the key is disabled, deleted, or of the wrong type
	BadCiphertext        // the key does not open this data key
	Throttled
)

// Key says whose request failed, and what mends the usual causes.
type Key struct {
	Service string // "AWS KMS"
	Name    string // the key, as the document names it
	Host    string // the server's name, for failures of the network
	SignIn  string // what mends credentials that are not accepted
	Grant   string // the command that gives the permission
	Show    string // the command that shows the key and its state
}

// Refusal is the fault of a request that was answered with a refusal.
func (k Key) Refusal(status int, code string, kind Kind) *fault.Fault {
	f := &fault.Fault{
		Hop: fault.HopVault, Object: k.Service + " key " + k.Name,
		Err: &Refused{Status: status, Code: code, denied: kind == Forbidden || kind == Unauthenticated},
	}
	f.Seen = k.Service + " answered " + f.Err.Error()
	switch kind {
	case Unauthenticated:
		f.Code, f.Fix = "SLU-VAULT-021", k.SignIn
		f.Why = "it does not accept the credentials: they are unknown to it, expired or malformed"
	case Forbidden:
		f.Code, f.Fix = "SLU-VAULT-020", k.Grant
		f.Why = "the identity that asked may not use the key"
	case Throttled:
		f.Code = "SLU-VAULT-022"
		f.Why, f.Fix = "the service's request limit is exceeded; it is asked again by itself", "raise the data keys' time in memory: --data-key-ttl"
	case NotFound:
		f.Hop, f.Code, f.Fix = fault.HopKey, "SLU-KEY-020", k.Show
		f.Why = "there is no such key: it was deleted, or the document was sealed elsewhere"
	case Unusable:
		f.Hop, f.Code, f.Fix = fault.HopKey, "SLU-KEY-021", k.Show
		f.Why = "the key is disabled, waits for its deletion, or is not one for encryption"
	case BadCiphertext:
		f.Hop, f.Code = fault.HopKey, "SLU-KEY-022"
		f.Why = "the key does not open the document's data key: its enc was changed, or belongs to another key"
		f.Fix = "restore the document from Git as it was sealed: git log --oneline -- <file>"
	default:
		f.Code, f.Fix = "SLU-VAULT-023", k.Show
		f.Why = "the service could not serve the request; it is asked again by itself"
	}
	return f
}

// Unreachable is the fault of a request that brought no answer, or the context's error.
func (k Key) Unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", k.Service, k.Host, ctx.Err())
	}
	if f := fault.From(err); f != nil {
		return f
	}
	f := &fault.Fault{
		Code: "SLU-VAULT-024", Hop: fault.HopVault, Object: k.Service + " key " + k.Name, Err: networkCause(err),
		Seen: k.Host + " cannot be reached", Why: "the connection failed",
		Fix: "allow egress to " + k.Host + " (DNS, NetworkPolicy, HTTPS_PROXY and its CA)",
	}
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	switch {
	case errors.As(err, &dns):
		f.Why = "its name does not resolve"
	case errors.As(err, &authority), errors.As(err, &hostname), strings.Contains(err.Error(), "x509:"):
		f.Why = "its certificate is not trusted by this system, or is another name's"
	case strings.Contains(err.Error(), "connection refused"):
		f.Why = "the connection was refused"
	}
	return f
}

// networkCause keeps the kind of a network error for errors.As, and drops whatever a wrapper wrote around it.
func networkCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op
	}
	return nil
}

// Malformed is the fault of a key that a document names in a form that the service does not have, or at a place to which
// nothing may be sent.
func (k Key) Malformed(seen, why, fix string) *fault.Fault {
	return &fault.Fault{Code: "SLU-KEY-023", Hop: fault.HopKey, Object: k.Service + " key " + k.Name, Seen: seen, Why: why, Fix: fix}
}

// KindOf is the kind that an HTTP status means where the service says nothing better.
func KindOf(status int) Kind {
	switch status {
	case http.StatusUnauthorized:
		return Unauthenticated
	case http.StatusForbidden:
		return Forbidden
	case http.StatusNotFound:
		return NotFound
	case http.StatusTooManyRequests:
		return Throttled
	}
	return Other
}
