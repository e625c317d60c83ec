package gitrepo

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// newSource makes a user's repository with two commits on a branch of its own name.
func newSource(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "their repo")
	check(t, os.MkdirAll(dir, 0o755))
	git(t, dir, "init", "-q")
	commit(t, dir, "gitops/aks/kustomization.yaml", "one")
	commit(t, dir, "gitops/aks/apps/secret.yaml", "two")
	return dir
}

func imported(t *testing.T, r Repo, source string) *Imported {
	t.Helper()
	got, err := r.Import(t.Context(), source, "./gitops/aks")
	check(t, err)
	return got
}

func TestImportTakesHeadWithItsHistoryAndTouchesNothing(t *testing.T) {
	source := newSource(t)
	write(t, source, "gitops/aks/kustomization.yaml", "edited")
	write(t, source, "untracked", "x")
	before := snapshot(t, source)
	r := newRepo(t)
	got := imported(t, r, source)
	if snapshot(t, source) != before {
		t.Error("the source changed")
	}
	head := git(t, source, "rev-parse", "HEAD")
	if got.Commit != head || got.Branch != "trunk" || !got.Changed || !slices.Equal(got.Uncommitted, []string{"gitops/aks/kustomization.yaml", "untracked"}) {
		t.Errorf("imported %+v", *got)
	}
	if git(t, r.Bare, "rev-parse", "main") != head || git(t, r.Bare, "rev-list", "--count", "main") != "2" {
		t.Error("main is not the source's HEAD with its history")
	}
	if read(t, r.Work, "gitops/aks/kustomization.yaml") != "one" {
		t.Error("the working copy shows what was not committed")
	}
	git(t, r.Bare, "fsck", "--strict")
}

func TestImportFromShallowClonesWorktreesBareAndDetachedRepositories(t *testing.T) {
	source := newSource(t)
	head := git(t, source, "rev-parse", "HEAD")
	dir := t.TempDir()
	git(t, "", "clone", "-q", "--depth=1", "file://"+source, dir+"/shallow")
	git(t, source, "worktree", "add", "-q", "-b", "side", dir+"/worktree")
	side := commit(t, dir+"/worktree", "side", "x")
	git(t, "", "clone", "-q", "--bare", source, dir+"/bare")
	git(t, "", "clone", "-q", source, dir+"/detached")
	git(t, dir+"/detached", "checkout", "-q", "--detach")
	detached := commit(t, dir+"/detached", "loose", "x")
	for name, want := range map[string]string{"shallow": head, "worktree": side, "bare": head, "detached": detached} {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t)
			got := imported(t, r, filepath.Join(dir, name))
			if got.Commit != want || len(got.Uncommitted) > 0 {
				t.Errorf("imported %+v, want %s", *got, want)
			}
			// The platform commits on top, and the user pushes on top of that.
			check(t, publish(t, r, bytesOf("flux-system/sync.yaml", "x")))
			pushed := commit(t, r.Work, "mine", "x")
			git(t, r.Work, "push", "-q")
			if git(t, r.Bare, "rev-parse", "main") != pushed {
				t.Error("the imported repository does not take commits")
			}
			if _, err := os.Stat(filepath.Join(r.Work, "gitops/aks/apps/secret.yaml")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestImportAgainFollowsTheSource(t *testing.T) {
	source, r := newSource(t), newRepo(t)
	imported(t, r, source)
	if again := imported(t, r, source); again.Changed {
		t.Error("importing the same commit changed something")
	}
	check(t, publish(t, r, bytesOf("flux-system/sync.yaml", "x")))
	if again := imported(t, r, source); again.Changed {
		t.Error("a main that has the commit, and the platform's on top, was moved")
	}
	write(t, r.Work, "gitops/aks/kustomization.yaml", "edited, not committed")
	next := commit(t, source, "gitops/aks/new.yaml", "three")
	if got := imported(t, r, source); !got.Changed || git(t, r.Bare, "rev-parse", "main") != next {
		t.Error("main did not follow the source")
	}
	if read(t, r.Work, "gitops/aks/new.yaml") != "three" || read(t, r.Work, "gitops/aks/kustomization.yaml") != "edited, not committed" {
		t.Error("the working copy is not as it should be")
	}
}

func TestImportNeverDropsWhatTheUserPushed(t *testing.T) {
	source, r := newSource(t), newRepo(t)
	imported(t, r, source)
	mine := commit(t, r.Work, "mine", "x")
	git(t, r.Work, "push", "-q")
	commit(t, source, "gitops/aks/new.yaml", "three")
	_, err := r.Import(t.Context(), source, "gitops/aks")
	wantFault(t, err, "SLU-PLATFORM-038", "1 commits", "pull --rebase")
	if git(t, r.Bare, "rev-parse", "main") != mine {
		t.Error("main moved")
	}
	// The fix does what it says.
	git(t, source, "pull", "-q", "--rebase", r.Work, "main")
	if got := imported(t, r, source); !got.Changed {
		t.Error("after the fix main did not follow")
	}
	commit(t, r.Work, "unpushed", "x")
	commit(t, source, "gitops/aks/newer.yaml", "four")
	_, err = r.Import(t.Context(), source, "gitops/aks")
	wantFault(t, err, "SLU-PLATFORM-032", "not pushed")
}

func TestImportRefusals(t *testing.T) {
	source := newSource(t)
	empty, plain := filepath.Join(t.TempDir(), "empty"), t.TempDir()
	git(t, "", "init", "-q", empty)
	broken := filepath.Join(t.TempDir(), "broken")
	write(t, broken, ".git", "gitdir: /nonexistent")
	write(t, source, "only/on/disk/x", "x")
	for _, tt := range []struct {
		name, source, path, code string
		says                     []string
	}{
		{"no folder", filepath.Join(plain, "none"), ".", "SLU-PLATFORM-035", []string{"no folder"}},
		{"no repository", plain, ".", "SLU-PLATFORM-035", []string{"git -C " + plain + " init"}},
		{"inside a repository", filepath.Join(source, "gitops/aks"), ".", "SLU-PLATFORM-035", []string{"--repo '" + source + "' --path ./gitops/aks"}},
		{"dangling worktree", broken, ".", "SLU-PLATFORM-035", nil},
		{"no commits", empty, ".", "SLU-PLATFORM-036", []string{"commit -m first"}},
		{"no such path", source, "./gitops/aws", "SLU-PLATFORM-037", []string{"./gitops/aks", "./gitops"}},
		{"similar path", source, "aks/app", "SLU-PLATFORM-037", []string{"./gitops/aks/apps"}},
		{"path is a file", source, "gitops/aks/kustomization.yaml", "SLU-PLATFORM-037", nil},
		{"path not committed", source, "only/on", "SLU-PLATFORM-037", []string{"not committed", "add only/on"}},
		{"path leads out", source, "../x", "SLU-PLATFORM-037", []string{"leads out"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRepo(t)
			_, err := r.Import(t.Context(), tt.source, tt.path)
			wantFault(t, err, tt.code, tt.says...)
			for _, p := range []string{r.Bare, r.Bare + ".new", r.Work, r.Work + ".new"} {
				if _, err := os.Stat(p); err == nil {
					t.Errorf("%s was made", p)
				}
			}
		})
	}
	for _, p := range []string{"", ".", "./", "gitops/", "./gitops/aks/"} {
		if _, err := newRepo(t).Import(t.Context(), source, p); err != nil {
			t.Errorf("path %q: %v", p, err)
		}
	}
}
