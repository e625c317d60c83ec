package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Condition reasons, in Flux's words.
const (
	reasonOperation  = "GitOperationFailed"
	reasonAuth       = "AuthenticationFailed"
	reasonStorage    = "StorageOperationFailed"
	reasonURLInvalid = "URLInvalid"
)

// authFault is a fault in how the credentials are set up, met before anything is dialled.
func authFault(seen, fix string, err error) error {
	return &fault.Fault{Code: "SLU-GIT-002", Hop: fault.HopGit, Reason: reasonAuth, Seen: seen, Fix: fix, Err: err}
}

func gitFault(code, seen, why, fix string, err error) error {
	return &fault.Fault{Code: code, Hop: fault.HopGit, Reason: reasonOperation, Seen: seen, Why: why, Fix: fix, Err: err}
}

// explain tells what went wrong on the way to or at the remote. The wrapped error is kept for errors.Is alone: its text
// is the network's and the remote's, and is not ours to repeat.
func explain(ctx context.Context, r *remote, err error) error {
	var known *fault.Fault
	if errors.As(err, &known) {
		return known
	}
	at := r.ep.String()
	switch cause := ctx.Err(); {
	case errors.Is(cause, context.Canceled):
		return fmt.Errorf("fetch %s: %w", at, context.Canceled)
	case cause != nil:
		return gitFault("SLU-GIT-008", "no answer from "+at+" in time", "the deadline passed before the remote was done",
			"raise spec.timeout, or look at the network between here and "+r.ep.address(), cause)
	}
	for _, rule := range []func(*remote, error) error{explainHTTP, explainTLS, explainSSH, explainNet, explainServer} {
		if f := rule(r, err); f != nil {
			return f
		}
	}
	return gitFault("SLU-GIT-011", "the conversation with "+at+" broke off", r.scrub(err), "try again; if it stays, look at the remote's own log", sealed{err})
}

func explainHTTP(r *remote, err error) error {
	at := r.ep.String()
	var status *errStatus
	var notGit *errNotGit
	var redirect *errRedirect
	switch {
	case errors.As(err, &redirect):
		return gitFault("SLU-GIT-014", at+": "+redirect.why, "only the listing of refs may be redirected, to another smart HTTP repository",
			"set spec.url to the repository's final address", sealed{err})
	case errors.As(err, &notGit):
		return gitFault("SLU-GIT-003", at+" answers, but not as a Git repository", "the content type is "+strconv.Quote(notGit.contentType)+": a web page, or a server without smart HTTP",
			"set spec.url to the address that `git clone` takes", sealed{err})
	case errors.As(err, &status):
		return r.explainStatus(status.code, err)
	}
	return nil
}

func (r *remote) explainStatus(code int, err error) error {
	at := r.ep.String()
	switch {
	case (code == 401 || code == 403) && r.movedTo() != "":
		return gitFault("SLU-GIT-004", fmt.Sprintf("HTTP %d after %s redirected to %s", code, at, r.movedTo()), "credentials are not sent to another host than the one named",
			"set spec.url to "+r.movedTo(), sealed{err})
	case code == 401 && !r.hasCredentials():
		return gitFault("SLU-GIT-004", fmt.Sprintf("HTTP 401 from %s", at), "the remote wants credentials and none are set; some hosts answer so for repositories that don't exist",
			"name a Secret with username and password, or bearerToken, in spec.secretRef", sealed{err})
	case code == 401:
		return gitFault("SLU-GIT-004", fmt.Sprintf("HTTP 401 from %s", at), "the remote rejects the credentials: mistyped, expired or revoked",
			"put a valid username and password (an access token, on most hosts) into the Secret that spec.secretRef names", sealed{err})
	case code == 403:
		return gitFault("SLU-GIT-004", fmt.Sprintf("HTTP 403 from %s", at), "the remote knows the caller and refuses it this repository",
			"grant the account or token read access to the repository", sealed{err})
	case code == 404 || code == 410:
		return gitFault("SLU-GIT-003", fmt.Sprintf("HTTP %d from %s: repository not found", code, at), "the path is wrong, or the account may not see the repository",
			"check with `git ls-remote "+at+"`, then correct spec.url or the Secret that spec.secretRef names", sealed{err})
	case code == 407:
		return gitFault("SLU-GIT-007", "HTTP 407 on the way to "+at, "the proxy wants credentials", r.proxyFix("set HTTPS_PROXY with the proxy's user and password"), sealed{err})
	case code == 429 || code >= 500:
		return gitFault("SLU-GIT-011", fmt.Sprintf("HTTP %d from %s", code, at), "the remote is overloaded or broken", "none here: it is tried again", sealed{err})
	}
	return gitFault("SLU-GIT-011", fmt.Sprintf("HTTP %d from %s", code, at), "", "check with `git ls-remote "+at+"`", sealed{err})
}

// proxyFix is the fix for a proxy that stands in the way: of the object's own, or of the environment's.
func (r *remote) proxyFix(environment string) string {
	if r.auth.Proxy != nil {
		return "correct address, username and password in the Secret that spec.proxySecretRef names"
	}
	return environment
}

func explainTLS(r *remote, err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var plain tls.RecordHeaderError
	var op *net.OpError
	ca := "put the PEM certificate of its authority under ca.crt in the Secret that spec.secretRef names"
	switch {
	case errors.As(err, &unknown):
		return gitFault("SLU-GIT-006", "the certificate of "+r.ep.address()+" is signed by an unknown authority", "neither the system nor ca.crt of the Secret vouches for it", ca, sealed{err})
	case errors.As(err, &name):
		return gitFault("SLU-GIT-006", "the certificate of "+r.ep.address()+" is for another name", "", "set spec.url to a name that the certificate holds", sealed{err})
	case errors.As(err, &invalid):
		why := ""
		if invalid.Reason == x509.Expired {
			why = "it has expired or is not valid yet, by this machine's clock"
		}
		return gitFault("SLU-GIT-006", "the certificate of "+r.ep.address()+" is not valid", why, "renew the certificate, or set the clock right", sealed{err})
	case errors.As(err, &plain), errors.Is(err, http.ErrSchemeMismatch):
		return gitFault("SLU-GIT-006", r.ep.address()+" does not speak TLS", "", "set spec.url to http://, or to the TLS port", sealed{err})
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert, whose type is not exported
		return gitFault("SLU-GIT-006", r.ep.address()+" ended the TLS handshake", r.scrub(op.Err), "if it wants a client certificate, put one under tls.crt and tls.key in the Secret that spec.secretRef names", sealed{err})
	}
	return nil
}

// explainSSH goes by texts: the library has no types for these.
func explainSSH(r *remote, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "unable to authenticate"):
		return gitFault("SLU-GIT-004", r.ep.address()+" rejects the SSH identity", "its public half is not registered there, or not for this repository",
			"print it with `ssh-keygen -y -f identity` and add it as a deploy key", sealed{err})
	case strings.Contains(text, "no common algorithm for host key"):
		return hostKeyFault("SSH host "+r.ep.address()+" has no key of the kinds in known_hosts", "the host was rebuilt, or someone stands in between",
			fmt.Sprintf("run `%s`, compare the fingerprint with the one its owner publishes, and put the line under known_hosts in the Secret that spec.secretRef names", keyscan(r.ep)))
	}
	return nil
}

func explainNet(r *remote, err error) error {
	var dns *net.DNSError
	var op *net.OpError
	var timeout net.Error
	switch {
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return gitFault("SLU-GIT-007", "the proxy on the way to "+r.ep.String()+" does not answer", "", r.proxyFix("correct HTTPS_PROXY, or add the host to NO_PROXY"), sealed{err})
	case errors.As(err, &dns) && dns.IsNotFound:
		return gitFault("SLU-GIT-007", "no such host: "+r.ep.host, "the name server does not know it", "correct the host in spec.url", sealed{err})
	case errors.As(err, &dns):
		return gitFault("SLU-GIT-007", "cannot look up "+r.ep.host, "the name server does not answer", "none here: it is tried again", sealed{err})
	case errors.Is(err, syscall.ECONNREFUSED):
		return gitFault("SLU-GIT-007", "connection refused by "+r.ep.address(), "nothing listens on that port", "start the server, or correct host and port in spec.url", sealed{err})
	case errors.As(err, &timeout) && timeout.Timeout():
		return gitFault("SLU-GIT-008", "no answer from "+r.ep.address()+" in time", "the host is down, or a firewall drops the packets", "check with `git ls-remote "+r.ep.String()+"`", sealed{err})
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return gitFault("SLU-GIT-007", "no route to "+r.ep.address(), "", "look at the network between here and there", sealed{err})
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return gitFault("SLU-GIT-011", r.ep.String()+" ended the connection early", "", "none here: it is tried again", sealed{err})
	}
	return nil
}

func explainServer(r *remote, err error) error {
	var said *errServer
	if !errors.As(err, &said) {
		return nil
	}
	text, low := r.scrub(said), strings.ToLower(said.text)
	for _, sign := range []string{"not found", "does not exist", "not appear to be a git repository", "no such repository", "could not be found", "access denied"} {
		if strings.Contains(low, sign) {
			return gitFault("SLU-GIT-003", r.ep.String()+": repository not found", "the remote says: "+text, "correct spec.url, or grant the identity access to the repository", sealed{err})
		}
	}
	return gitFault("SLU-GIT-011", r.ep.String()+" refuses to serve", "it says: "+text, "look at the remote's own log", sealed{err})
}

// storageFault is a failure of this machine's disk.
func storageFault(what string, err error) error {
	f := &fault.Fault{Code: "SLU-GIT-010", Hop: fault.HopGit, Reason: reasonStorage, Seen: what, Err: err, Why: diskReason(err), Fix: "look at the disk that holds the state"}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		f.Seen, f.Why, f.Fix = "the disk is full", what, "make room on the disk that holds the state; the last revision stays in use"
	}
	return f
}

func diskReason(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}

// sealed keeps an error for errors.Is and hides its text and its kind from everyone else.
type sealed struct{ err error }

func (s sealed) Error() string        { return "details withheld" }
func (s sealed) Is(target error) bool { return errors.Is(s.err, target) }
