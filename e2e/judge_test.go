//go:build judges

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestJudgeScripts runs the scripts that need Debian packages or the right to mount: .ci/run sees to both.
func TestJudgeScripts(t *testing.T) {
	for _, name := range []string{"az", "gpg"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%s is not installed; .ci/run names the Debian package", name)
		}
	}
	runScripts(t, "testdata/judges", map[string]func(*testscript.TestScript, bool, []string){
		"agekey": cmdAgeKey, "smalldisk": cmdSmallDisk,
	})
}

// agekey FILE writes a new age identity and sets RECIPIENT to its public half.
func cmdAgeKey(ts *testscript.TestScript, _ bool, args []string) {
	id, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(id.String()+"\n"), 0o600))
	ts.Setenv("RECIPIENT", id.Recipient().String())
}

// smalldisk DIR SIZE mounts a file system of that size on the folder, for the rest of the script.
func cmdSmallDisk(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	privileged := func(args ...string) error {
		if os.Geteuid() != 0 {
			args = append([]string{"sudo", "-n"}, args...)
		}
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			ts.Logf("%v: %s", args, out)
		}
		return err
	}
	ts.Check(privileged("mount", "-t", "tmpfs", "-o", "size="+args[1]+",mode=0777", "tmpfs", dir))
	ts.Defer(func() {
		_ = exec.Command(filepath.Join(ts.Getenv("ROOTBIN"), "sluice"), "down", "--state-dir", dir).Run()
		_ = privileged("umount", "-l", dir)
	})
}
