package gitrepo

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-gitops/sluice/internal/local/gitexec"
)

// Commit puts files (path to content) and the removal of others on top of main, in one commit, and brings the working
// copy along. What main holds already is left out; with nothing left it makes no commit and returns false. Everything
// else in the working copy stays as it is, staged or not.
//
// It gives a fault when the working copy has uncommitted changes in one of the paths, or commits that were not pushed:
// both are the user's, and would get lost or published. A working copy that stands on another branch is left there.
func (r Repo) Commit(ctx context.Context, files map[string][]byte, removed []string, message string) (changed bool, err error) {
	if err := checkPaths(files, removed); err != nil {
		return false, err
	}
	// The user may push between our look and our commit; git then refuses it and we look again.
	for range 3 {
		changed, err = r.commit(ctx, files, removed, message)
		var said *gitexec.Error
		if !errors.As(err, &said) || said.Args[0] != "fast-import" {
			break
		}
	}
	if err != nil {
		return false, err
	}
	return changed, nil
}

func (r Repo) commit(ctx context.Context, files map[string][]byte, removed []string, message string) (bool, error) {
	head, err := r.head(ctx)
	if err != nil {
		return false, err
	}
	if head == "" {
		return false, fmt.Errorf("%s has no branch %s to commit on", r.Bare, Branch)
	}
	names := change{files: files, removed: removed}.paths()
	found, err := look(ctx, r.Bare, head, names)
	if err != nil {
		return false, err
	}
	c, err := differing(found, files, removed)
	if err != nil {
		return false, err
	}
	if len(c.paths()) == 0 {
		return false, r.ensureWork(ctx)
	}
	if err := r.ensureWork(ctx); err != nil {
		return false, err
	}
	if err := r.workReady(ctx, head, c.paths()); err != nil {
		return false, err
	}
	c.parent, c.message, c.author = head, message, r.Author
	if err := fastImport(ctx, r.Bare, c); err != nil {
		return false, err
	}
	return true, r.follow(ctx)
}
