package gitrepo

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/githost/gitpush"
	"github.com/sluice-gitops/sluice/internal/local/gitexec"
	"github.com/sluice-gitops/sluice/internal/local/githttp"
)

var platform = Author{Name: "Sluice", Email: "sluice@localhost"}

// newRepo names a repository in a fresh folder, which a real Git server serves, and makes nothing.
func newRepo(t *testing.T) Repo {
	t.Helper()
	state := t.TempDir()
	root := filepath.Join(state, "git")
	check(t, os.MkdirAll(root, 0o700))
	h, err := githttp.Handler(root, nil)
	check(t, err)
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return Repo{Bare: filepath.Join(root, "gitops.git"), Work: filepath.Join(state, "gitops"), Origin: s.URL + "/gitops.git", Author: platform}
}

func created(t *testing.T, files map[string][]byte) Repo {
	t.Helper()
	r := newRepo(t)
	made, err := r.Create(t.Context(), files, "first")
	check(t, err)
	if !made {
		t.Error("Create made nothing")
	}
	return r
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// git runs the real client as a user called Ada.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := gitexec.Run(t.Context(), dir, append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=trunk"}, args...)...)
	check(t, err)
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	check(t, err)
	return string(data)
}

func commit(t *testing.T, dir, name, content string) string {
	t.Helper()
	write(t, dir, name, content)
	git(t, dir, "add", name)
	git(t, dir, "commit", "-q", "-m", "change "+name)
	return git(t, dir, "rev-parse", "HEAD")
}

func wantFault(t *testing.T, err error, code string, says ...string) {
	t.Helper()
	f := fault.From(err)
	if f == nil || f.Code != code || f.Hop != fault.HopPlatform || f.Fix == "" {
		t.Fatalf("error %v, want fault %s with a fix", err, code)
	}
	for _, part := range says {
		if !strings.Contains(f.Error(), part) {
			t.Errorf("%q lacks %q", f.Error(), part)
		}
	}
}

// publish pushes files onto main as the platform does: asked first, and the working copy brought along.
func publish(t *testing.T, r Repo, files map[string][]byte) error {
	t.Helper()
	if err := r.Admit(t.Context(), slices.Sorted(maps.Keys(files))); err != nil {
		return err
	}
	_, err := gitpush.Remote{URL: r.Origin}.Commit(t.Context(), Branch, gitpush.Change{Message: "second\n", AuthorName: platform.Name, AuthorEmail: platform.Email,
		Files: func(fs.FS) (map[string][]byte, error) { return files, nil }})
	check(t, err)
	return r.Follow(t.Context())
}

// bytesOf makes Create's argument.
func bytesOf(pairs ...string) map[string][]byte {
	files := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		files[pairs[i]] = []byte(pairs[i+1])
	}
	return files
}

func TestCreateGivesARepositoryThatCanBePushedTo(t *testing.T) {
	r := created(t, bytesOf("aks/kustomization.yaml", "resources: []\n", `odd "name" ü.yaml`, "x", "empty", ""))
	if got := git(t, r.Work, "log", "--format=%an <%ae> %cn %s", "origin/main"); got != "Sluice <sluice@localhost> Sluice first" {
		t.Errorf("log: %s", got)
	}
	if got := git(t, r.Work, "status", "--porcelain", "--branch"); got != "## main...origin/main" {
		t.Errorf("status: %s", got)
	}
	if got := read(t, r.Work, `odd "name" ü.yaml`); got != "x" {
		t.Errorf("odd name reads %q", got)
	}
	hash := commit(t, r.Work, "mine.yaml", "mine")
	git(t, r.Work, "push", "-q")
	if got := git(t, r.Bare, "rev-parse", "main"); got != hash {
		t.Errorf("main is %s after the push, want %s", got, hash)
	}
	if got := git(t, r.Bare, "symbolic-ref", "HEAD"); got != "refs/heads/main" {
		t.Errorf("HEAD is %s", got)
	}
	git(t, r.Bare, "fsck", "--strict")
}

func TestCreateAgainKeepsWhatIsThereAndMendsWhatIsNot(t *testing.T) {
	r := created(t, bytesOf("a", "1"))
	hash := commit(t, r.Work, "mine", "mine")
	git(t, r.Work, "push", "-q")
	r.Origin = strings.Replace(r.Origin, "127.0.0.1", "localhost", 1)
	made, err := r.Create(t.Context(), bytesOf("a", "2"), "again")
	check(t, err)
	if made || read(t, r.Work, "a") != "1" || git(t, r.Bare, "rev-parse", "main") != hash {
		t.Error("a second Create changed the repository")
	}
	if got := git(t, r.Work, "config", "remote.origin.url"); got != r.Origin {
		t.Errorf("origin is %s", got)
	}
	check(t, os.RemoveAll(r.Work))
	_, err = r.Create(t.Context(), bytesOf("a", "2"), "again")
	check(t, err)
	if read(t, r.Work, "mine") != "mine" {
		t.Error("the working copy did not come back")
	}
	// What a killed Create leaves.
	check(t, os.RemoveAll(r.Work))
	check(t, os.RemoveAll(r.Bare))
	check(t, githttp.Init(t.Context(), r.Bare, Branch))
	check(t, githttp.Init(t.Context(), r.Bare+".new", Branch))
	check(t, os.MkdirAll(r.Work+".new/.git", 0o700))
	made, err = r.Create(t.Context(), bytesOf("a", "3"), "again")
	check(t, err)
	if !made || read(t, r.Work, "a") != "3" {
		t.Error("Create did not start over")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(r.Work), "*.new")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestFolderInTheWayOfTheWorkingCopyIsAFault(t *testing.T) {
	r := newRepo(t)
	write(t, r.Work, "precious", "data")
	_, err := r.Create(t.Context(), bytesOf("a", "1"), "first")
	wantFault(t, err, "SLU-PLATFORM-031", r.Work)
	if read(t, r.Work, "precious") != "data" {
		t.Error("the folder was touched")
	}
}

func TestUserConfigurationStaysOutOfThePlatformsCommits(t *testing.T) {
	home := t.TempDir()
	trap := filepath.Join(home, "ran")
	for _, hook := range []string{"pre-commit", "post-checkout", "post-merge", "pre-push", "reference-transaction", "post-index-change"} {
		write(t, home, "hooks/"+hook, "#!/bin/sh\ntouch "+trap+"\nexit 1\n")
		check(t, os.Chmod(filepath.Join(home, "hooks", hook), 0o700))
		write(t, home, "template/hooks/"+hook, "#!/bin/sh\ntouch "+trap+"\nexit 1\n")
		check(t, os.Chmod(filepath.Join(home, "template/hooks", hook), 0o700))
	}
	write(t, home, ".gitconfig", "[user]\n\tname = Grace\n\temail = grace@example.org\n[commit]\n\tgpgSign = true\n[core]\n\thooksPath = "+home+
		"/hooks\n\tautocrlf = true\n[init]\n\ttemplateDir = "+home+"/template\n[fetch]\n\tprune = true\n[merge]\n\tff = false\n")
	t.Setenv("HOME", home)
	t.Setenv("GIT_DIR", "/nonexistent")
	t.Setenv("GIT_AUTHOR_NAME", "Mallory")
	r := created(t, bytesOf("a", "1\n"))
	check(t, publish(t, r, bytesOf("a", "2\n")))
	if _, err := os.Stat(trap); err == nil {
		t.Error("a hook of the user's ran")
	}
	if got := git(t, r.Bare, "log", "--format=%an %G?", "main"); got != "Sluice N\nSluice N" {
		t.Errorf("commits by: %s", got)
	}
	if cmd, _ := gitexec.AsUser(t.Context(), r.Work, "config", "user.name"); cmd != nil {
		if out, _ := cmd.Output(); strings.TrimSpace(string(out)) != "Grace" {
			t.Errorf("in the working copy the user is %q", out)
		}
	}
}

func TestUserWithoutAnIdentityCanCommit(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	r := created(t, bytesOf("a", "1"))
	write(t, r.Work, "b", "2")
	for _, args := range [][]string{{"add", "b"}, {"commit", "-q", "-m", "mine"}} {
		_, err := gitexec.Run(t.Context(), r.Work, args...)
		check(t, err)
	}
	author, err := gitexec.Run(t.Context(), r.Work, "log", "-1", "--format=%ae")
	check(t, err)
	if strings.TrimSpace(string(author)) == platform.Email {
		t.Error("the user's commit passes for one of the platform's, which an import may set aside")
	}
}

func TestWorkingCopyFollowsWhatThePlatformPushes(t *testing.T) {
	r := created(t, bytesOf("a", "1", "dir/b", "1"))
	check(t, os.Chmod(filepath.Join(r.Work, "a"), 0o755))
	git(t, r.Work, "commit", "-q", "-am", "executable")
	git(t, r.Work, "push", "-q")
	before := git(t, r.Bare, "rev-parse", "main")
	check(t, publish(t, r, bytesOf("a", "2", "dir/b", "1", "dir/new", "3")))
	if git(t, r.Bare, "rev-parse", "main~1") != before {
		t.Error("no commit on top was made")
	}
	if got := git(t, r.Work, "show", "--format=%s", "--raw", "--no-abbrev", "--name-status", "HEAD"); got != "second\n\nM\ta\nA\tdir/new" {
		t.Errorf("commit: %s", got)
	}
	if got := git(t, r.Work, "status", "--porcelain", "--branch"); got != "## main...origin/main" {
		t.Errorf("status: %s", got)
	}
	if info, _ := os.Stat(filepath.Join(r.Work, "a")); info.Mode()&0o100 == 0 {
		t.Error("the executable bit was lost")
	}
	git(t, r.Bare, "fsck", "--strict")
}

func TestPublishingKeepsTheUsersUncommittedWork(t *testing.T) {
	r := created(t, bytesOf("a", "1", "mine", "1", "staged", "1"))
	write(t, r.Work, "mine", "edited")
	write(t, r.Work, "staged", "edited")
	write(t, r.Work, "untracked", "new")
	git(t, r.Work, "add", "staged")
	check(t, publish(t, r, bytesOf("a", "2")))
	if read(t, r.Work, "a") != "2" || read(t, r.Work, "mine") != "edited" {
		t.Error("the working copy is not as it should be")
	}
	if got := git(t, r.Work, "status", "--porcelain"); got != "M mine\nM  staged\n?? untracked" && got != " M mine\nM  staged\n?? untracked" {
		t.Errorf("status: %q", got)
	}
}

func TestPublishingIsRefusedWhereItWouldCollideWithTheUser(t *testing.T) {
	for name, tt := range map[string]struct {
		act  func(t *testing.T, r Repo)
		code string
		says []string
	}{
		"edited":    {func(t *testing.T, r Repo) { write(t, r.Work, "a", "mine") }, "SLU-PLATFORM-033", []string{"a", "stash"}},
		"staged":    {func(t *testing.T, r Repo) { write(t, r.Work, "a", "mine"); git(t, r.Work, "add", "a") }, "SLU-PLATFORM-033", nil},
		"deleted":   {func(t *testing.T, r Repo) { check(t, os.Remove(filepath.Join(r.Work, "a"))) }, "SLU-PLATFORM-033", nil},
		"untracked": {func(t *testing.T, r Repo) { write(t, r.Work, "dir/new", "mine") }, "SLU-PLATFORM-033", []string{"dir/new"}},
		"ignored": {func(t *testing.T, r Repo) {
			write(t, r.Work, ".git/info/exclude", "new")
			write(t, r.Work, "dir/new", "mine")
		}, "SLU-PLATFORM-033", nil},
		"ignored directory": {func(t *testing.T, r Repo) {
			write(t, r.Work, ".git/info/exclude", "dir/")
			write(t, r.Work, "dir/new", "mine")
		}, "SLU-PLATFORM-033", nil},
		"unpushed": {func(t *testing.T, r Repo) { commit(t, r.Work, "mine", "mine") }, "SLU-PLATFORM-032", []string{"push"}},
		"diverged": {func(t *testing.T, r Repo) {
			commit(t, r.Work, "theirs", "x")
			git(t, r.Work, "push", "-q")
			git(t, r.Work, "reset", "-q", "--hard", "HEAD~1")
			commit(t, r.Work, "mine", "mine")
		}, "SLU-PLATFORM-032", []string{"pull --rebase"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := created(t, bytesOf("a", "1"))
			tt.act(t, r)
			head, disk := git(t, r.Bare, "rev-parse", "main"), snapshot(t, r.Work, ".git")
			err := publish(t, r, bytesOf("a", "2", "dir/new", "2"))
			wantFault(t, err, tt.code, tt.says...)
			if git(t, r.Bare, "rev-parse", "main") != head {
				t.Error("main moved")
			}
			if snapshot(t, r.Work, ".git") != disk {
				t.Error("the working copy changed")
			}
		})
	}
}

func TestPublishingBringsAWorkingCopyAlongThatIsBehind(t *testing.T) {
	r := created(t, bytesOf("a", "1"))
	other := filepath.Join(t.TempDir(), "other")
	git(t, "", "clone", "-q", r.Origin, other)
	commit(t, other, "theirs", "x")
	git(t, other, "push", "-q")
	check(t, publish(t, r, bytesOf("a", "2")))
	if read(t, r.Work, "a") != "2" || read(t, r.Work, "theirs") != "x" {
		t.Error("the working copy is behind")
	}
}

func TestPublishingLeavesAnotherBranchAlone(t *testing.T) {
	r := created(t, bytesOf("a", "1"))
	git(t, r.Work, "switch", "-q", "-c", "feature")
	mine := commit(t, r.Work, "a", "mine")
	check(t, publish(t, r, bytesOf("a", "2")))
	if git(t, r.Work, "rev-parse", "HEAD") != mine || read(t, r.Work, "a") != "mine" {
		t.Error("the feature branch moved")
	}
	if got := git(t, r.Work, "show", "origin/main:a"); got != "2" {
		t.Errorf("origin/main has %q", got)
	}
}

func TestPathsThatLeadOutAreRefused(t *testing.T) {
	for _, name := range []string{"../x", "/x", "", ".", "a/../b", "./a", ".git/config", "x/.GIT/y", "a\nb", "dir/"} {
		if _, err := newRepo(t).Create(t.Context(), bytesOf(name, "x"), "m"); err == nil {
			t.Errorf("%q was committed", name)
		}
	}
}

// snapshot sums up every file below dir, with modes and times, but for what skip names.
func snapshot(t *testing.T, dir string, skip ...string) string {
	t.Helper()
	sum := sha256.New()
	check(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		check(t, err)
		if slices.Contains(skip, d.Name()) {
			return filepath.SkipDir
		}
		info, err := d.Info()
		check(t, err)
		fmt.Fprintln(sum, p, info.Mode(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(p)
			check(t, err)
			sum.Write(data)
		}
		return nil
	}))
	return fmt.Sprintf("%x", sum.Sum(nil))
}

func TestMissingGitIsAFault(t *testing.T) {
	r := newRepo(t)
	t.Setenv("PATH", t.TempDir())
	_, err := r.Create(t.Context(), bytesOf("a", "1"), "first")
	var f *fault.Fault
	if !errors.As(err, &f) || f.Fix != "apt-get install git" {
		t.Errorf("Create = %v", err)
	}
}

func TestFixesCanBeCopiedIntoAShell(t *testing.T) {
	for _, words := range [][]string{{"a", "b c"}, {"it's", "$HOME", "`x`", ""}, {"~", "*", "a;b", "ü"}} {
		out, err := exec.Command("sh", "-c", "printf '%s\n' "+command(slices.Clone(words)...)).Output()
		if want := strings.Join(words, "\n") + "\n"; err != nil || string(out) != want {
			t.Errorf("%q comes out as %q (%v)", words, out, err)
		}
	}
	if got := command("a", "&&", "b"); got != "a && b" {
		t.Error(got)
	}
}
