// Package githost speaks the APIs of Git hosts, as far as a bootstrap needs them: make a repository that is missing, and
// register a deploy key. The hosts are GitHub, GitLab, Gitea (and Forgejo) and Azure DevOps.
//
// Each host is one file over the Host interface. The package deletes and changes nothing that exists, registers keys
// without write access unless told otherwise, and repeats no token in an error.
package githost

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Repository is where a bootstrap commits to.
type Repository struct {
	Owner    string // user, organisation, group (with subgroups), or "organisation/project" of Azure DevOps
	Name     string
	Personal bool // Owner is a user
	Private  bool // visibility, when it is made
	Internal bool // visible to who has an account: GitLab alone; goes before Private
	FindOnly bool // a missing one is a fault, and is not made

	Reconcile bool   // also an existing one gets that visibility
	Teams     []Team // who gets access, to an existing one too
}

// Team is a team of the owning organisation, or a group of GitLab.
type Team struct {
	Name   string
	Access string // in the host's words; empty: the host's "maintain"
}

// ParseTeam reads NAME or NAME:ACCESS, as flux bootstrap takes it.
func ParseTeam(text string) Team {
	name, access, _ := strings.Cut(text, ":")
	return Team{name, access}
}

// Found is a repository as its host knows it.
type Found struct {
	HTTPS   string // clone URL
	SSH     string // clone URL, ssh://
	Created bool   // it was missing and is made now
}

// Host is one Git host with a token to sign in with. Errors are faults with hop git.
type Host interface {
	// Ensure finds the repository, or makes it, without commits.
	Ensure(ctx context.Context, r Repository) (Found, error)
	// DeployKey registers a public key (authorized_keys' format) under a title, and does nothing if it is there.
	DeployKey(ctx context.Context, r Repository, title, public string, write bool) error
	// User is the name that goes with the token as the password of Git over https.
	User() string
}

// TokenHost is a host that gives out tokens for one repository alone.
type TokenHost interface {
	// DeployToken makes a token of that name that may read the repository, and returns it with the user that goes with it.
	DeployToken(ctx context.Context, r Repository, name string) (user, token string, err error)
}

// noSuch refuses what a host has no notion of.
func noSuch(host, seen, fix string) error {
	return &fault.Fault{Code: "SLU-GIT-054", Hop: fault.HopGit, Object: host, Seen: seen, Fix: fix}
}

// explainStatus tells what an HTTP status of a host's API means for the caller.
func explainStatus(host string, status int, doing string, err error) error {
	f := &fault.Fault{Code: "SLU-GIT-050", Hop: fault.HopGit, Object: host, Seen: "HTTP " + strconv.Itoa(status) + " while " + doing, Err: withheld{err}}
	switch status {
	case 0:
		f.Code, f.Seen, f.Fix = "SLU-GIT-051", "no answer while "+doing, "check host and network, and name a host of your own with --hostname"
		if errors.Is(err, context.DeadlineExceeded) {
			f.Exit = fault.ExitTimeout
		}
	case http.StatusUnauthorized:
		f.Why, f.Fix = "the token is missing, mistyped, expired or revoked", "make a new token and pass it in the environment"
	case http.StatusForbidden:
		f.Why, f.Fix = "the token's scopes, or its owner's rights, do not reach so far", "give the token the scopes that docs/bootstrap.md names for this host"
	case http.StatusNotFound:
		f.Why, f.Fix = "the owner does not exist, or the token may not see it", "correct --owner, and --personal for a user"
	case http.StatusUnprocessableEntity, http.StatusBadRequest, http.StatusConflict:
		f.Why, f.Fix = "the host does not accept the name or the settings", "correct --owner and --repository"
	default:
		f.Fix = "try again; if it stays, look at the host's status page"
	}
	return f
}

// refuseMissing is the fault of a repository that is missing and is not to be made.
func (r Repository) refuseMissing(host string) error {
	if !r.FindOnly {
		return nil
	}
	return &fault.Fault{Code: "SLU-GIT-053", Hop: fault.HopGit, Object: host, Seen: "there is no repository " + r.Owner + "/" + r.Name, Fix: "make it, or leave --export out"}
}

// withheld keeps an error for errors.Is alone: clients print requests, and with them tokens.
type withheld struct{ err error }

func (w withheld) Error() string        { return "details withheld" }
func (w withheld) Is(target error) bool { return w.err != nil && errors.Is(w.err, target) }

// sameKey compares public keys without their comments.
func sameKey(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	return len(x) >= 2 && len(y) >= 2 && x[0] == y[0] && x[1] == y[1]
}

// sshURL writes scp's short form, which hosts print, as a URL.
func sshURL(clone string) string {
	if strings.Contains(clone, "://") {
		return clone
	}
	host, path, ok := strings.Cut(clone, ":")
	if !ok {
		return clone
	}
	return "ssh://" + host + "/" + strings.TrimPrefix(path, "/")
}
