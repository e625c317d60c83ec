package gitpush_test

import (
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"golang.org/x/crypto/ssh"

	"github.com/sluice-gitops/sluice/internal/fault"
	. "github.com/sluice-gitops/sluice/internal/githost/gitpush"
	"github.com/sluice-gitops/sluice/internal/source"
	"github.com/sluice-gitops/sluice/internal/testkit/gitserver"
)

func https(s *gitserver.Server) Remote {
	return Remote{URL: s.URL, Auth: source.Auth{Username: gitserver.User, Password: gitserver.Password, CAFile: s.CA}}
}

func overSSH(t *testing.T, s *gitserver.Server, push bool) Remote {
	t.Helper()
	signer, identity := gitserver.Key(t)
	h := s.SSH()
	if err := h.Allow(ssh.MarshalAuthorizedKey(signer.PublicKey()), push); err != nil {
		t.Fatal(err)
	}
	return Remote{URL: h.URL, Auth: source.Auth{Identity: identity, KnownHosts: h.KnownHosts}}
}

func change(files map[string]string) Change {
	return Change{Message: "Bootstrap\n", AuthorName: "Sluice", Files: func(fs.FS) (map[string][]byte, error) {
		out := map[string][]byte{}
		for name, data := range files {
			out[name] = []byte(data)
		}
		return out, nil
	}}
}

func commit(t *testing.T, r Remote, c Change) *Result {
	t.Helper()
	res, err := r.Commit(t.Context(), "main", c)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func refused(t *testing.T, r Remote, c Change, code string, says ...string) {
	t.Helper()
	_, err := r.Commit(t.Context(), "main", c)
	f := fault.From(err)
	if f == nil || f.Code != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	for _, w := range says {
		if !strings.Contains(f.Multiline(), w) {
			t.Errorf("%q is missing in\n%s", w, f.Multiline())
		}
	}
	if strings.Contains(f.Multiline(), gitserver.Password) {
		t.Errorf("the password is told:\n%s", f.Multiline())
	}
}

func TestCommitFillsAnEmptyRepositoryAndThenLeavesItAlone(t *testing.T) {
	for name, remote := range map[string]func(*gitserver.Server) Remote{
		"https": https,
		"ssh":   func(s *gitserver.Server) Remote { return overSSH(t, s, true) },
	} {
		t.Run(name, func(t *testing.T) {
			s := gitserver.New(t)
			r, c := remote(s), change(map[string]string{"gitops/aks/a.yaml": "one", "gitops/aks/dir/b.yaml": "two", "README": "three"})
			first := commit(t, r, c)
			if at := s.Git("rev-parse", "main"); !first.Changed || at != first.Head.Commit {
				t.Fatalf("main is at %s, the commit is %s", at, first.Head.Commit)
			}
			s.Git("fsck", "--strict", "--full")
			if got := s.Git("show", "main:gitops/aks/dir/b.yaml"); got != "two" {
				t.Errorf("got %q", got)
			}
			if again := commit(t, r, c); again.Changed || again.Head.Commit != first.Head.Commit {
				t.Errorf("a second run made a commit: %+v", again)
			}
		})
	}
}

func TestCommitKeepsEverythingElse(t *testing.T) {
	s := gitserver.New(t)
	before := s.Commit(map[string]string{"docs/x": "x", "gitops/aks/a.yaml": "old", "gitops/aks/b.yaml": "b", "gitops.txt": "t", "gitops-2/z": "z"})
	res := commit(t, https(s), change(map[string]string{"gitops/aks/a.yaml": "new"}))
	s.Git("fsck", "--strict", "--full")
	if got := s.Git("diff", "--name-status", before, res.Head.Commit); got != "M\tgitops/aks/a.yaml" {
		t.Errorf("changed:\n%s", got)
	}
	if parent := s.Git("rev-parse", "main~1"); parent != before {
		t.Errorf("the parent is %s, want %s", parent, before)
	}
	data, err := fs.ReadFile(res.Head.Files(), "gitops/aks/b.yaml")
	if err != nil || string(data) != "b" {
		t.Errorf("the new head shows %q, %v", data, err)
	}
	var walked []string
	err = fs.WalkDir(res.Head.Files(), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			walked = append(walked, name)
		}
		return err
	})
	if got := strings.Join(walked, " "); err != nil || got != "docs/x gitops/aks/a.yaml gitops/aks/b.yaml gitops-2/z gitops.txt" {
		t.Errorf("walked %s, %v", got, err)
	}
	entries, _, err := res.Head.Tree().ReadDir("gitops/aks")
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestCommitDeletesNoFileForAFolderNorAFolderForAFile(t *testing.T) {
	s := gitserver.New(t)
	before := s.Commit(map[string]string{"gitops/aks": "a file", "docs/x/y": "in a folder"})
	for name, says := range map[string]string{"gitops/aks/flux-system/a.yaml": "gitops/aks is a file", "docs/x": "docs/x is a folder"} {
		refused(t, https(s), change(map[string]string{name: "new"}), "SLU-GIT-045", says)
	}
	if at := s.Git("rev-parse", "main"); at != before {
		t.Errorf("main is at %s, want %s", at, before)
	}
}

func TestPushThatLostARaceIsMadeAgainOnTheNewHead(t *testing.T) {
	s := gitserver.New(t)
	s.Commit(map[string]string{"a": "1"})
	raced := 0
	c := change(map[string]string{"mine": "m"})
	own := c.Files
	c.Files = func(existing fs.FS) (map[string][]byte, error) {
		if raced < 2 { // between our look and our push
			raced++
			s.Commit(map[string]string{"theirs": strings.Repeat("t", raced)})
		}
		return own(existing)
	}
	res := commit(t, https(s), c)
	if res.Rebased != 2 || s.Git("show", "main:theirs") != "tt" || s.Git("show", "main:mine") != "m" {
		t.Errorf("rebased %d times", res.Rebased)
	}
	if n := s.Git("rev-list", "--count", "main"); n != "4" {
		t.Errorf("%s commits, want 4", n)
	}
}

func TestProtectedBranchIsToldWithTheHostsWords(t *testing.T) {
	s := gitserver.New(t)
	s.Commit(map[string]string{"a": "1"})
	s.Hook("pre-receive", `echo "GH006: Protected branch update failed" >&2; exit 1`)
	for name, r := range map[string]Remote{"https": https(s), "ssh": overSSH(t, s, true)} {
		t.Run(name, func(t *testing.T) {
			refused(t, r, change(map[string]string{"x": "y"}), "SLU-GIT-042", "branch main", "GH006: Protected branch update failed", "--export")
		})
	}
}

func TestWhoMayOnlyReadIsToldSo(t *testing.T) {
	s := gitserver.New(t)
	s.Commit(map[string]string{"a": "1"})
	s.ReadOnly()
	refused(t, https(s), change(map[string]string{"x": "y"}), "SLU-GIT-041", "write access")
	refused(t, overSSH(t, s, false), change(map[string]string{"x": "y"}), "SLU-GIT-041", "write access")
}

func TestWhatCanNotBeReachedIsNamed(t *testing.T) {
	s := gitserver.New(t)
	s.Commit(map[string]string{"a": "1"})
	c := change(map[string]string{"x": "y"})
	r := https(s)
	r.Auth.Password += "x"
	refused(t, r, c, "SLU-GIT-004", "--password")
	r = https(s)
	r.Auth.CAFile = nil
	refused(t, r, c, "SLU-GIT-006", "--ca-file")
	r = https(s)
	r.URL = strings.Replace(r.URL, "fleet", "none", 1)
	refused(t, r, c, "SLU-GIT-003", "not found")
	r = overSSH(t, s, true)
	_, r.Auth.Identity = gitserver.Key(t)
	refused(t, r, c, "SLU-GIT-004", "ssh-keygen")
	r = overSSH(t, s, true)
	r.Auth.KnownHosts = s.SSH().KnownHosts // of another port
	refused(t, r, c, "SLU-GIT-009", "--known-hosts-file")
	if _, err := https(s).Head(t.Context(), "prod"); fault.From(err) == nil || fault.From(err).Code != "SLU-GIT-043" || !strings.Contains(err.Error(), "main") {
		t.Errorf("a missing branch: %v", err)
	}
}

func TestScannedHostKeyIsTheHosts(t *testing.T) {
	s := gitserver.New(t)
	r := overSSH(t, s, true)
	line, fingerprint, err := Scan(r.URL, nil)
	if err != nil || !strings.HasPrefix(fingerprint, "SHA256:") {
		t.Fatalf("%q, %v", fingerprint, err)
	}
	if line != string(r.Auth.KnownHosts) || !Knows([]byte(line), r.URL) || Knows([]byte(line), "ssh://git@example.org/x") {
		t.Errorf("scanned %q, want %q", line, r.Auth.KnownHosts)
	}
}

func TestSignedCommitIsVerifiedByTheSource(t *testing.T) {
	s := gitserver.New(t)
	signer, err := openpgp.NewEntity("Sluice", "", "sluice@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := change(map[string]string{"x": "y"})
	c.Signer = signer
	commit(t, https(s), c)
	m, err := source.OpenMirror(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := https(s)
	rev, err := m.Fetch(t.Context(), source.Spec{URL: r.URL, Branch: "main", Auth: r.Auth}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rev.VerifyCommit(source.Keys{PGP: []string{armored(t, signer)}}); err != nil {
		t.Errorf("the signature: %v", err)
	}
	other, err := openpgp.NewEntity("Other", "", "other@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rev.VerifyCommit(source.Keys{PGP: []string{armored(t, other)}}); err == nil {
		t.Error("another's key verifies it")
	}
	if when := rev.Commit.When; time.Since(when) > time.Hour {
		t.Errorf("committed at %s", when)
	}
}

func TestOnlyTheKindsOfHostKeysThatWereNamedAreTaken(t *testing.T) {
	s := gitserver.New(t)
	r := overSSH(t, s, true)
	r.HostKeyAlgorithms = []string{ssh.KeyAlgoRSASHA512}
	refused(t, r, change(map[string]string{"x": "y"}), "SLU-GIT-009", "--ssh-hostkey-algos")
	if _, _, err := Scan(r.URL, r.HostKeyAlgorithms); err == nil {
		t.Error("a key of another kind was scanned")
	}
	r.HostKeyAlgorithms = []string{ssh.KeyAlgoED25519}
	commit(t, r, change(map[string]string{"x": "y"}))
}
