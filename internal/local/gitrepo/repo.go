// Package gitrepo looks after the local platform's repository: a bare one that the Git server serves, and the user's
// working copy beside it. It makes them, takes a user's own repository in, and keeps the working copy in step with what
// the platform pushes.
//
// It stands at the very beginning of the way of the data, in the place of the person who pushes. It makes no commit but
// the first: the manifests come over the Git server, as every other change does. It refuses to write to the repository
// it imports from, to overwrite what the user changed and did not commit, to let the platform push past what the user
// did not push, and to let the user's Git configuration, hooks or signing into what it does.
package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/gitexec"
	"github.com/sluice-gitops/sluice/internal/local/githttp"
)

// Branch is the one branch that the platform follows.
const Branch = "main"

const (
	branchRef   = "refs/heads/" + Branch
	trackingRef = "refs/remotes/origin/" + Branch
)

// Repo names the platform's repository. Paths are absolute.
type Repo struct {
	Bare   string // the bare repository, below the Git server's root
	Work   string // the user's working copy
	Origin string // the URL that the working copy pushes to
	Author Author // who the platform's own commits are by
}

// Author is the identity of a commit.
type Author struct{ Name, Email string }

// Create makes the bare repository with a first commit of files (path to content, paths relative and slash-separated),
// and the working copy. Where they exist they are left as they are, but for a missing working copy, which is made, and
// its origin, which is corrected. created tells whether the first commit was made. A crash leaves nothing half-made.
func (r Repo) Create(ctx context.Context, files map[string][]byte, message string) (created bool, err error) {
	if err := checkPaths(files); err != nil {
		return false, err
	}
	head, err := r.head(ctx)
	if err != nil {
		return false, err
	}
	if head == "" {
		err := r.build(ctx, func(bare string) error {
			return fastImport(ctx, bare, first{files: files, message: message, author: r.Author})
		})
		if err != nil {
			return false, err
		}
		created = true
	}
	return created, r.EnsureWork(ctx)
}

// head is the commit that main of the bare repository is at; empty without one.
func (r Repo) head(ctx context.Context) (string, error) {
	if _, err := os.Stat(filepath.Join(r.Bare, "HEAD")); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	out, err := gitexec.Run(ctx, r.Bare, "for-each-ref", "--format=%(objectname)", branchRef)
	if err != nil {
		return "", fmt.Errorf("read the platform's repository: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// build makes a new bare repository aside, lets fill put commits in, and moves it into place. What stood there has no
// commit, or head would have found it.
func (r Repo) build(ctx context.Context, fill func(bare string) error) error {
	aside := r.Bare + ".new"
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	if err := githttp.Init(ctx, aside, Branch); err != nil {
		return err
	}
	err := fill(aside)
	if err == nil {
		err = os.RemoveAll(r.Bare)
	}
	if err == nil {
		err = os.Rename(aside, r.Bare)
	}
	if err != nil {
		os.RemoveAll(aside)
	}
	return err
}

// checkPaths refuses paths that Git would refuse too, or that lead out of the working copy.
func checkPaths(files map[string][]byte) error {
	for name := range files {
		if !cleanPath(name) {
			return fmt.Errorf("%q is not a clean relative path", name)
		}
	}
	return nil
}

func cleanPath(name string) bool {
	if name == "" || name == "." || path.IsAbs(name) || path.Clean(name) != name || strings.ContainsAny(name, "\x00\n") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." || strings.EqualFold(part, ".git") {
			return false
		}
	}
	return true
}

func platformFault(code, seen, why, fix string, err error) error {
	return &fault.Fault{Code: code, Hop: fault.HopPlatform, Seen: seen, Why: why, Fix: fix, Err: err}
}

// command writes a command line that a shell takes apart into the same words; "&&" stays what it is.
func command(words ...string) string {
	for i, w := range words {
		if w != "&&" && (w == "" || strings.ContainsFunc(w, func(r rune) bool {
			return !strings.ContainsRune("-_./:=@+,", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		})) {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// text runs git and returns its output without the newline at its end.
func text(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := gitexec.Run(ctx, dir, args...)
	return strings.TrimSpace(string(out)), err
}

// list splits output of git's -z form.
func list(out string) []string {
	if out = strings.TrimRight(out, "\x00"); out == "" {
		return nil
	}
	return strings.Split(out, "\x00")
}
