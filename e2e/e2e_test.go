package e2e

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the expectations in the scripts")

func TestScripts(t *testing.T) { runScripts(t, "testdata", nil) }

// runScripts runs the scripts of one folder, with further commands of their own.
func runScripts(t *testing.T, dir string, more map[string]func(*testscript.TestScript, bool, []string)) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(root, "bin")
	for _, name := range []string{"sluice", "sluice-cluster"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			t.Fatalf("bin/%s is missing: run `make build` first", name)
		}
	}
	tools := buildTools(t, root)
	commands := map[string]func(*testscript.TestScript, bool, []string){
		"azure":       cmdAzure,
		"eventually":  cmdEventually,
		"githost":     func(ts *testscript.TestScript, _ bool, args []string) { cmdGitHost(t, ts, args) },
		"killchild":   cmdKillChild,
		"noplaintext": cmdNoPlaintext,
		"nothingleft": cmdNothingLeft,
		"occupy":      cmdOccupy,
		"page":        cmdPage,
		"replace":     cmdReplace,
		"sourceenv":   cmdSourceEnv,
		"tamper":      cmdTamper,
	}
	maps.Copy(commands, more)
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup:               func(env *testscript.Env) error { return setup(env, bin, tools) },
		Cmds:                commands,
	})
}

// setup gives each script a state folder, a home and a Git identity of its own, and takes the platform down at the end
// whatever happened in between.
func setup(env *testscript.Env, bin, tools string) error {
	home := filepath.Join(env.WorkDir, "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	// The state folder is not in the work folder: unix sockets and the scan for leaked values want a path of its own.
	state, err := os.MkdirTemp("", "sluice-e2e-")
	if err != nil {
		return err
	}
	env.Setenv("HOME", home)
	env.Setenv("ROOTBIN", bin)
	env.Setenv("PATH", strings.Join([]string{bin, tools, os.Getenv("PATH")}, string(os.PathListSeparator)))
	env.Setenv("SLUICE_STATE_DIR", state)
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		env.Setenv("GIT_"+who+"_NAME", "Ada")
		env.Setenv("GIT_"+who+"_EMAIL", "ada@example.com")
	}
	env.Defer(func() {
		for _, dir := range []string{state, state + "-b"} {
			cmd := exec.Command(filepath.Join(bin, "sluice"), "down", "--purge", "--state-dir", dir)
			cmd.Env = env.Vars
			if out, err := cmd.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "sluice down: %v\n%s", err, out)
			}
			_ = os.RemoveAll(dir)
		}
	})
	return nil
}

// buildTools builds the judges that the scripts call: the unmodified upstream sops CLI, at the version that go.mod
// pins, and links kubectl to the control plane's.
func buildTools(t *testing.T, root string) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "sops"), "github.com/getsops/sops/v3/cmd/sops")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build sops: %v\n%s", err, out)
	}
	if err := os.Symlink(filepath.Join(root, "bin", "sluice-cluster"), filepath.Join(dir, "kubectl")); err != nil {
		t.Fatal(err)
	}
	return dir
}
