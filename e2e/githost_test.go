package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

	"github.com/sluice-gitops/sluice/internal/testkit/gitserver"
)

// githost DIR starts a Git host whose repository holds the files of DIR, .git aside, in one commit. It sets GIT_HTTPS,
// GIT_SSH and GIT_BARE (the repository's folder) and writes git-ca.pem, git-known-hosts and git-key, an SSH key that may
// push, into the script's work folder.
func cmdGitHost(t *testing.T, ts *testscript.TestScript, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: githost DIR")
	}
	files := map[string]string{}
	dir := ts.MkAbs(args[0])
	ts.Check(filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() == ".git" {
			return filepath.SkipDir
		}
		if e.IsDir() {
			return nil
		}
		data, err := os.ReadFile(name)
		files[filepath.ToSlash(strings.TrimPrefix(name, dir+string(filepath.Separator)))] = string(data)
		return err
	}))
	host := gitserver.New(t)
	host.Commit(files)
	h := host.SSH()
	signer, private := gitserver.Key(t)
	ts.Check(h.Allow(ssh.MarshalAuthorizedKey(signer.PublicKey()), true))
	for name, data := range map[string][]byte{"git-ca.pem": host.CA, "git-known-hosts": h.KnownHosts, "git-key": private} {
		ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), name), data, 0o600))
	}
	ts.Setenv("GIT_HTTPS", host.URL)
	ts.Setenv("GIT_SSH", h.URL)
	ts.Setenv("GIT_BARE", host.Bare)
}
