package gitrepo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/local/gitexec"
)

// Imported tells what Import found and did.
type Imported struct {
	Commit      string   // the source's HEAD
	Branch      string   // its branch; empty when HEAD is detached
	Uncommitted []string // paths with changes that are not in Commit and so were left out
	Changed     bool     // main of the platform's repository moved
}

// Import takes the committed HEAD of the repository in folder source, with its history, into main, and makes or moves
// the working copy. path, relative to the repository's root, must be a folder in that commit. The source is only read.
//
// When main exists already: it stays if it contains the commit; it is set back onto the commit if all it has on top are
// the platform's own commits, which the caller makes anew; and if the user's are among them there is a fault, and
// nothing changes.
func (r Repo) Import(ctx context.Context, source, path string) (*Imported, error) {
	source, err := filepath.Abs(source)
	if err != nil {
		return nil, err
	}
	if err := isRepository(source); err != nil {
		return nil, err
	}
	got := &Imported{}
	if got.Commit, err = sourceHead(ctx, source); err != nil {
		return nil, err
	}
	if branch, err := ask(ctx, source, "rev-parse", "--symbolic-full-name", "HEAD"); err == nil {
		if name, ok := strings.CutPrefix(branch, "refs/heads/"); ok {
			got.Branch = name
		}
	}
	if err := hasFolder(ctx, source, path); err != nil {
		return nil, err
	}
	if bare, _ := ask(ctx, source, "rev-parse", "--is-bare-repository"); bare != "true" {
		if got.Uncommitted, err = status(ctx, source, []string{"status", "--porcelain=v1", "-z", "--no-renames", "--ignore-submodules"}); err != nil {
			return nil, err
		}
	}
	head, err := r.head(ctx)
	if err != nil {
		return nil, err
	}
	if head == "" {
		got.Changed = true
		err := r.build(ctx, func(bare string) error {
			if err := take(ctx, bare, source, got.Commit); err != nil {
				return err
			}
			_, err := gitexec.Run(ctx, bare, "update-ref", branchRef, got.Commit)
			return err
		})
		if err != nil {
			return nil, err
		}
		return got, r.EnsureWork(ctx)
	}
	if err := r.EnsureWork(ctx); err != nil {
		return nil, err
	}
	got.Changed, err = r.setBack(ctx, source, head, got.Commit)
	return got, err
}

// setBack moves main from head to commit, if that loses nothing of the user's.
func (r Repo) setBack(ctx context.Context, source, head, commit string) (bool, error) {
	if err := take(ctx, r.Bare, source, commit); err != nil {
		return false, err
	}
	if _, err := gitexec.Run(ctx, r.Bare, "merge-base", "--is-ancestor", commit, head); err == nil {
		return false, nil
	}
	others, err := r.foreign(ctx, r.Bare, commit, head)
	if err != nil {
		return false, err
	}
	if others > 0 {
		return false, platformFault("SLU-PLATFORM-038", fmt.Sprintf("the platform's repository has %d commits that %s lacks", others, source),
			"taking its HEAD over would lose them", command("git", "-C", source, "pull", "--rebase", r.Work, Branch), nil)
	}
	if err := r.track(ctx); err != nil {
		return false, err
	}
	branch, err := r.workBranch(ctx)
	if err != nil {
		return false, err
	}
	if branch == Branch {
		if mine, err := r.foreign(ctx, r.Work, head, "HEAD"); err != nil || mine > 0 {
			return false, cmp.Or(err, platformFault("SLU-PLATFORM-032", fmt.Sprintf("the working copy %s has %d commits that are not pushed", r.Work, mine),
				"taking the HEAD of "+source+" over would leave them behind", command("git", "-C", source, "pull", "--rebase", r.Work, Branch), nil))
		}
	}
	if _, err := gitexec.Run(ctx, r.Bare, "update-ref", branchRef, commit, head); err != nil {
		return false, err
	}
	if err := r.track(ctx); err != nil || branch != Branch {
		return true, err
	}
	// Keeps uncommitted work, and gives up rather than overwrite it.
	if _, err := gitexec.Run(ctx, r.Work, "reset", "--quiet", "--keep", trackingRef); err != nil {
		return true, platformFault("SLU-PLATFORM-034", "the working copy "+r.Work+" could not be brought up to date", err.Error(),
			command("git", "-C", r.Work, "stash", "&&", "git", "-C", r.Work, "reset", "--keep", "origin/"+Branch), err)
	}
	return true, nil
}

// foreign counts the commits in from..to that are not the platform's.
func (r Repo) foreign(ctx context.Context, repo, from, to string) (int, error) {
	out, err := text(ctx, repo, "log", "--format=%ce", from+".."+to)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, email := range strings.Fields(out) {
		if email != identity(r.Author.Email) {
			n++
		}
	}
	return n, nil
}

// take fetches one commit with its history, which may be shallow. Asking by hash works for a detached HEAD and for one
// of several worktrees, where HEAD is not the repository's.
func take(ctx context.Context, bare, source, commit string) error {
	_, err := gitexec.Run(ctx, bare, "fetch", "--quiet", "--no-tags", "--update-shallow",
		"--upload-pack", "git -c safe.directory='*' -c uploadpack.allowAnySHA1InWant=true upload-pack", source, commit)
	if err != nil {
		return fmt.Errorf("take over %s: %w", source, err)
	}
	return nil
}

// isRepository looks without running git, which would read the configuration of whatever repository lies above.
func isRepository(dir string) error {
	exists := func(p string) bool { _, err := os.Stat(p); return err == nil }
	if exists(filepath.Join(dir, ".git")) || exists(filepath.Join(dir, "HEAD")) && exists(filepath.Join(dir, "objects")) {
		return nil
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return platformFault("SLU-PLATFORM-035", "there is no folder "+dir, "", "name the folder of a Git repository with --repo", err)
	}
	for up := filepath.Dir(dir); up != filepath.Dir(up); up = filepath.Dir(up) {
		if exists(filepath.Join(up, ".git")) {
			rest, _ := filepath.Rel(up, dir)
			return platformFault("SLU-PLATFORM-035", dir+" is not a Git repository", "it is a folder inside the one at "+up,
				"pass "+command("--repo", up, "--path", "./"+filepath.ToSlash(rest)), nil)
		}
	}
	return platformFault("SLU-PLATFORM-035", dir+" is not a Git repository", "", command("git", "-C", dir, "init", "&&", "git", "-C", dir, "add", "-A", "&&", "git", "-C", dir, "commit", "-m", "first"), nil)
}

// ask reads from the user's repository as the user.
func ask(ctx context.Context, dir string, args ...string) (string, error) {
	cmd, err := gitexec.AsUser(ctx, dir, args...)
	if err != nil {
		return "", err
	}
	out, err := gitexec.Output(ctx, cmd, args...)
	return strings.TrimSpace(string(out)), err
}

func sourceHead(ctx context.Context, source string) (string, error) {
	head, err := ask(ctx, source, "rev-parse", "--verify", "HEAD^{commit}")
	var said *gitexec.Error
	switch {
	case err == nil:
		return head, nil
	case !errors.As(err, &said):
		return "", err
	case strings.Contains(said.Stderr, "dubious ownership"):
		return "", platformFault("SLU-PLATFORM-036", source+" belongs to another user", "git does not trust repositories of others",
			command("git", "config", "--global", "--add", "safe.directory", source), err)
	case strings.Contains(said.Stderr, "not a git repository"):
		return "", platformFault("SLU-PLATFORM-035", source+" is not a Git repository", "its .git is damaged, or points to a repository that is gone",
			command("git", "-C", source, "fsck"), err)
	}
	return "", platformFault("SLU-PLATFORM-036", source+" has no commits", "only what is committed is taken over",
		command("git", "-C", source, "add", "-A", "&&", "git", "-C", source, "commit", "-m", "first"), err)
}

// hasFolder checks that dir is a folder in the source's HEAD, and names similar ones if it isn't.
func hasFolder(ctx context.Context, source, dir string) error {
	want := path.Clean(dir)
	if want == "." || dir == "" {
		return nil
	}
	if !cleanPath(want) {
		return platformFault("SLU-PLATFORM-037", dir+" leads out of the repository", "the path is taken from the repository's root", "pass a relative path like --path ./gitops", nil)
	}
	if kind, err := ask(ctx, source, "cat-file", "-t", "HEAD:"+want); err == nil && kind == "tree" {
		return nil
	}
	out, err := ask(ctx, source, "ls-tree", "-r", "-d", "-z", "--name-only", "HEAD")
	if err != nil {
		return err
	}
	why := "the commit has no folders"
	fix := "commit the folder, or correct --path"
	if near := similar(want, list(out)); len(near) > 0 {
		why = "the commit has ./" + strings.Join(near, ", ./")
		fix = "pass " + command("--path", "./"+near[0]) + ", or commit the folder"
	}
	if _, err := os.Stat(filepath.Join(source, want)); err == nil {
		why = "it is on disk but not committed"
		fix = command("git", "-C", source, "add", want, "&&", "git", "-C", source, "commit", "-m", "add "+want)
	}
	return platformFault("SLU-PLATFORM-037", "there is no folder "+dir+" in HEAD of "+source, why, fix, nil)
}

// similar returns up to three folders that could have been meant: those that share most of the path's names, in any
// place, shortest first among equals.
func similar(want string, folders []string) []string {
	score := func(folder string) int {
		n := 0
		have := strings.Split(strings.ToLower(folder), "/")
		for part := range strings.SplitSeq(strings.ToLower(want), "/") {
			switch {
			case slices.Contains(have, part):
				n += 4
			case slices.ContainsFunc(have, func(h string) bool { return strings.HasPrefix(h, part) || strings.HasPrefix(part, h) }):
				n += 2
			}
		}
		return n
	}
	folders = slices.Clone(folders)
	slices.SortStableFunc(folders, func(a, b string) int {
		return cmp.Or(cmp.Compare(score(b), score(a)), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	return folders[:min(3, len(folders))]
}
