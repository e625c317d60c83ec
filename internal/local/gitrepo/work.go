package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-gitops/sluice/internal/local/gitexec"
)

// EnsureWork makes the working copy if there is none, and sees to its origin, and leaves it alone otherwise. It is cloned from the folder, not from
// the URL: the Git server may not be up yet.
func (r Repo) EnsureWork(ctx context.Context) error {
	entries, err := os.ReadDir(r.Work)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(entries) == 0 {
		return r.cloneWork(ctx)
	}
	if _, err := os.Stat(filepath.Join(r.Work, ".git")); err != nil {
		return platformFault("SLU-PLATFORM-031", r.Work+" is in the way", "the working copy belongs there, and it is not a Git repository",
			command("mv", r.Work, r.Work+".old"), err)
	}
	at, err := text(ctx, r.Work, "config", "--get", "remote.origin.url")
	if err != nil || at != r.Origin {
		_, err = gitexec.Run(ctx, r.Work, "config", "remote.origin.url", r.Origin)
	}
	return err
}

func (r Repo) cloneWork(ctx context.Context) error {
	aside := r.Work + ".new"
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	err := func() error {
		if _, err := gitexec.Run(ctx, "", "clone", "--quiet", "--no-hardlinks", "--template=", "--branch", Branch, r.Bare, aside); err != nil {
			return fmt.Errorf("make the working copy: %w", err)
		}
		if _, err := gitexec.Run(ctx, aside, "config", "remote.origin.url", r.Origin); err != nil {
			return err
		}
		if err := r.lendIdentity(ctx, aside); err != nil {
			return err
		}
		_ = os.Remove(r.Work) // an empty folder, or nothing
		return os.Rename(aside, r.Work)
	}()
	if err != nil {
		os.RemoveAll(aside)
	}
	return err
}

// The identity that a user without one commits as. It must not be Repo.Author's: commits of that one are the platform's
// own, and Import sets them aside.
const lentName, lentEmail = "Sluice user", "user@sluice.invalid"

// lendIdentity gives the working copy an identity if the user has none: on a fresh machine `git commit` would refuse.
func (r Repo) lendIdentity(ctx context.Context, work string) error {
	for key, value := range map[string]string{"user.name": lentName, "user.email": lentEmail} {
		cmd, err := gitexec.AsUser(ctx, work, "config", "--get", key)
		if err != nil {
			return err
		}
		if out, _ := cmd.Output(); strings.TrimSpace(string(out)) != "" {
			continue
		}
		if _, err := gitexec.Run(ctx, work, "config", key, value); err != nil {
			return err
		}
	}
	return nil
}

// track brings the bare repository's main into the working copy's view of its origin.
func (r Repo) track(ctx context.Context) error {
	_, err := gitexec.Run(ctx, r.Work, "fetch", "--quiet", "--no-tags", "--update-shallow", r.Bare, "+"+branchRef+":"+trackingRef)
	if err != nil {
		return fmt.Errorf("bring the working copy up to date: %w", err)
	}
	return nil
}

// Admit tells whether the platform may push a change of names onto main: a fault when the working copy has uncommitted
// changes in one of them, or commits that were not pushed. Both are the user's, and would get lost or published. A
// working copy that stands on another branch is in nobody's way; a missing one is made.
func (r Repo) Admit(ctx context.Context, names []string) error {
	head, err := r.head(ctx)
	if err != nil {
		return err
	}
	if err := r.EnsureWork(ctx); err != nil {
		return err
	}
	if err := r.track(ctx); err != nil {
		return err
	}
	branch, err := r.workBranch(ctx)
	if err != nil || branch != Branch {
		return err
	}
	unpushed, err := text(ctx, r.Work, "rev-list", "--count", head+"..HEAD")
	if err != nil {
		return err
	}
	if unpushed != "0" {
		fix := command("git", "-C", r.Work, "push")
		if missing, err := text(ctx, r.Work, "rev-list", "--count", "HEAD.."+head); err == nil && missing != "0" {
			fix = command("git", "-C", r.Work, "pull", "--rebase") + " && " + fix
		}
		return platformFault("SLU-PLATFORM-032", "the working copy "+r.Work+" has "+unpushed+" commits that are not pushed",
			"the platform has a commit to make and does not publish yours along with it", fix, nil)
	}
	dirty, err := r.dirty(ctx, names)
	if err != nil || len(dirty) == 0 {
		return err
	}
	return platformFault("SLU-PLATFORM-033", "uncommitted changes in "+strings.Join(dirty, ", ")+" of the working copy "+r.Work,
		"the platform has to change the same files", command(append([]string{"git", "-C", r.Work, "stash", "push", "--include-untracked", "--"}, dirty...)...), nil)
}

// workBranch is the branch that the working copy has checked out; "HEAD" for none, as in the middle of a rebase.
func (r Repo) workBranch(ctx context.Context) (string, error) {
	out, err := text(ctx, r.Work, "rev-parse", "--symbolic-full-name", "HEAD")
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(out, "refs/heads/"), nil
}

// dirty lists those of names that differ from HEAD in the index or on disk, ignored files included: a fast-forward
// would overwrite even those.
func (r Repo) dirty(ctx context.Context, names []string) ([]string, error) {
	args := append([]string{"-c", "safe.directory=*", "--literal-pathspecs", "status", "--porcelain=v1", "-z", "--no-renames",
		"--untracked-files=all", "--ignored=matching", "--"}, names...)
	return status(ctx, r.Work, args)
}

func status(ctx context.Context, dir string, args []string) ([]string, error) {
	cmd, err := gitexec.AsUser(ctx, dir, args...)
	if err != nil {
		return nil, err
	}
	out, err := gitexec.Output(ctx, cmd, "status")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, line := range list(string(out)) {
		if len(line) > 3 {
			names = append(names, line[3:])
		}
	}
	return names, nil
}

// Follow moves a working copy that stands on main to where the bare repository is, after a push. What the user changed
// and did not commit stays as it is, staged or not.
func (r Repo) Follow(ctx context.Context) error {
	if err := r.track(ctx); err != nil {
		return err
	}
	branch, err := r.workBranch(ctx)
	if err != nil || branch != Branch {
		return err
	}
	_, err = gitexec.Run(ctx, r.Work, "merge", "--quiet", "--ff-only", "--no-stat", trackingRef)
	if err != nil {
		return platformFault("SLU-PLATFORM-034", "the working copy "+r.Work+" could not be brought up to date", err.Error(),
			command("git", "-C", r.Work, "pull"), err)
	}
	return nil
}
