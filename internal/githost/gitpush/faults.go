package gitpush

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/sluice-gitops/sluice/internal/fault"
)

func usage(seen, fix string) error {
	return &fault.Fault{Code: "SLU-USAGE-060", Hop: fault.HopUsage, Seen: seen, Fix: fix}
}

// gitFault keeps err for errors.Is alone: its text is the remote's.
func gitFault(code, seen, why, fix string, err error) error {
	f := &fault.Fault{Code: code, Hop: fault.HopGit, Seen: seen, Why: why, Fix: fix}
	if err != nil {
		f.Err = sealed{err}
	}
	return f
}

// sealed keeps an error for errors.Is and hides its text.
type sealed struct{ err error }

func (s sealed) Error() string        { return "details withheld" }
func (s sealed) Is(target error) bool { return errors.Is(s.err, target) }

// explain tells why the remote could not be read.
func (r Remote) explain(ctx context.Context, err error) error {
	if fault.From(err) != nil {
		return err
	}
	if cause := ctx.Err(); cause != nil {
		if errors.Is(cause, context.Canceled) {
			return cause
		}
		return gitFault("SLU-GIT-008", "no answer from "+r.URL+" in time", "the deadline passed before the remote was done", "wait longer: --timeout 15m", cause)
	}
	var status *githttp.Err
	var unknownCA x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var hostKey *knownhosts.KeyError
	switch {
	case errors.Is(err, errElsewhere):
		return gitFault("SLU-GIT-014", r.URL+" redirects to another host", "credentials are sent to the host that was named and to no other", "give the repository's final address with --url", err)
	case errors.Is(err, transport.ErrAuthenticationRequired):
		return gitFault("SLU-GIT-004", r.URL+" rejects the credentials", "they are missing, mistyped, expired or revoked", "give a user and an access token: --username USER --password TOKEN", err)
	case errors.Is(err, transport.ErrAuthorizationFailed):
		return gitFault("SLU-GIT-041", r.URL+" refuses this account", "it may not do this with the repository", "grant the account or token read and write access to the repository", err)
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return gitFault("SLU-GIT-003", r.URL+": repository not found", "the path is wrong, or the account may not see it", "check with: git ls-remote "+r.URL, err)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return gitFault("SLU-GIT-004", r.URL+" rejects the SSH key", "its public half is not registered there, or without write access", "register the key with write access: ssh-keygen -y -f FILE prints its public half", err)
	case strings.Contains(err.Error(), "no common algorithm for host key"):
		return gitFault("SLU-GIT-009", "the SSH host of "+r.URL+" has no key of the kinds that are taken", words(err.Error()), "take more kinds with --ssh-hostkey-algos, or leave it out", err)
	case errors.As(err, &hostKey), strings.Contains(err.Error(), "host key"):
		return gitFault("SLU-GIT-009", "the SSH host of "+r.URL+" shows another key than the known hosts have", "the host was rebuilt, or someone stands in between",
			"compare its fingerprint with the one that its owner publishes, and name a file with the right key: --known-hosts-file FILE", err)
	case errors.As(err, &unknownCA):
		return gitFault("SLU-GIT-006", "the certificate of "+r.URL+" is signed by an unknown authority", "", "name the authority's certificate: --ca-file FILE", err)
	case errors.As(err, &hostname):
		return gitFault("SLU-GIT-006", "the certificate of "+r.URL+" is for another name", "", "give a name that the certificate holds with --url", err)
	case errors.As(err, &status):
		return gitFault("SLU-GIT-011", fmt.Sprintf("HTTP %d from %s", status.StatusCode(), r.URL), "", "check with: git ls-remote "+r.URL, err)
	}
	return gitFault("SLU-GIT-011", "the conversation with "+r.URL+" broke off", words(r.scrub(err.Error())), "check with: git ls-remote "+r.URL, err)
}

// explainPush tells why the remote did not take a commit.
func (r Remote) explainPush(ctx context.Context, branch string, err error) error {
	var refused *errRefused
	switch {
	case errors.As(err, &refused):
		why := "the host says: " + refused.status
		if refused.said != "" {
			why += ": " + r.scrub(refused.said)
		}
		return gitFault("SLU-GIT-042", "the host refuses the push to branch "+branch, why,
			"let this account push to the branch, or commit what --export prints through a pull request and run the command again", err)
	case errors.Is(err, transport.ErrAuthorizationFailed), errors.Is(err, transport.ErrAuthenticationRequired), saysReadOnly(err):
		return gitFault("SLU-GIT-041", r.URL+" can be read with these credentials, but not written", "", "grant the account, token or key write access to the repository", err)
	}
	return r.explain(ctx, err)
}

// saysReadOnly goes by what hosts print over SSH, where there is no status to go by.
func saysReadOnly(err error) bool {
	text := strings.ToLower(err.Error())
	for _, sign := range []string{"read only", "read-only", "permission", "denied", "not allowed", "no write access", "unauthorized"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// missingBranch lists what is there: making a branch out of nothing beside the others would surprise.
func missingBranch(branch string, refs *packp.AdvRefs) error {
	var names []string
	for name := range refs.References {
		if b, ok := strings.CutPrefix(name, "refs/heads/"); ok {
			names = append(names, b)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		names = []string{"(no branch)"}
	}
	return gitFault("SLU-GIT-043", "the repository has no branch "+branch, "it has "+strings.Join(names[:min(len(names), 5)], ", "), "name one of them with --branch, or push the branch first", nil)
}
