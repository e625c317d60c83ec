package cli

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
)

// The test binary is sluice when it is called as "… secrets …": for judges that want a process, and for the watcher of
// scratch folders, which sluice starts from its own executable.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "secrets" {
		os.Exit(Run(context.Background(), os.Args[1:], System()))
	}
}

const sample = "apiVersion: v1\nkind: Secret\nmetadata:\n    name: x\nstringData:\n    # note\n    password: CANARY-hunter2\n    port: \"8080\"\n"

// bench is a folder with an age key of its own, and the environment of somebody who works there.
type bench struct {
	t         testing.TB
	dir       string
	recipient string
	env       []string
}

func newBench(t testing.TB) *bench {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: t.TempDir(), recipient: id.Recipient().String()}
	b.env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "SOPS_AGE_KEY=" + id.String(), "SOPS_DISABLE_VERSION_CHECK=1", "NO_COLOR=1"}
	return b
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, filepath.FromSlash(name)) }

func (b *bench) write(name, text string) string {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(b.path(name)), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(b.path(name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return b.path(name)
}

func (b *bench) read(name string) string {
	b.t.Helper()
	data, err := os.ReadFile(b.path(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

// sluice runs `sluice secrets args` as a process in the bench's folder.
func (b *bench) sluice(args ...string) (code int, stdout, stderr string) {
	return b.process(os.Args[0], append([]string{"secrets"}, args...), "")
}

func (b *bench) process(program string, args []string, stdin string, env ...string) (code int, stdout, stderr string) {
	b.t.Helper()
	c := exec.Command(program, args...)
	c.Dir, c.Env, c.Stdin = b.dir, append(b.env, env...), strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	err := c.Run()
	if c.ProcessState == nil {
		b.t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), errOut.String()
}

// must runs a command that has to succeed.
func (b *bench) must(args ...string) string {
	b.t.Helper()
	code, out, errOut := b.sluice(args...)
	if code != 0 {
		b.t.Fatalf("sluice secrets %v: exit %d\n%s", args, code, errOut)
	}
	return out
}

// builtSOPS is the upstream command, which the go command builds and keeps in its cache.
var builtSOPS = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "tool", "-n", "sops").Output()
	return strings.TrimSpace(string(out)), err
})

// sops runs the upstream command, a tool dependency of this module.
func (b *bench) sops(args ...string) (code int, stdout, stderr string) {
	b.t.Helper()
	program, err := builtSOPS()
	if err != nil {
		b.t.Fatal(err)
	}
	return b.process(program, args, "")
}

func TestASecretWithoutARuleIsSealedUnderDataAndStringDataAndSaysSo(t *testing.T) {
	b := newBench(t)
	b.write("db.yaml", sample)
	code, out, errOut := b.sluice("encrypt", "--age", b.recipient, "-i", "db.yaml")
	sealed := b.read("db.yaml")
	if code != 0 || out != "" || !strings.Contains(errOut, "^(data|stringData)$") || !strings.Contains(sealed, "encrypted_regex: ^(data|stringData)$") {
		t.Fatalf("exit %d, %q, %q\n%s", code, out, errOut, sealed)
	}
	if strings.Contains(sealed, "CANARY") || !strings.Contains(sealed, "kind: Secret") {
		t.Errorf("sealed:\n%s", sealed)
	}
	if _, plain, _ := b.sops("decrypt", "db.yaml"); plain != sample {
		t.Errorf("sops reads\n%s", plain)
	}
}

func TestASetChangesOnlyItsValue(t *testing.T) {
	b := newBench(t)
	b.write("db.yaml", sample)
	b.must("encrypt", "--age", b.recipient, "-i", "db.yaml")
	before := strings.Split(b.read("db.yaml"), "\n")
	b.must("set", "db.yaml", `["stringData"]["password"]`, `"other"`)
	var changed []string
	for i, line := range strings.Split(b.read("db.yaml"), "\n") {
		if line != before[i] {
			changed = append(changed, strings.Fields(line)[0])
		}
	}
	for _, line := range changed {
		if line != "password:" && line != "mac:" && line != "lastmodified:" {
			t.Errorf("%s changed too", line)
		}
	}
	if _, out, _ := b.sops("decrypt", "--extract", `["stringData"]["password"]`, "db.yaml"); out != "other" {
		t.Errorf("sops reads %q", out)
	}
	sealed := b.read("db.yaml")
	b.must("set", "--idempotent", "db.yaml", `["stringData"]["password"]`, `"other"`)
	if b.read("db.yaml") != sealed {
		t.Error("an idempotent set wrote the file")
	}
	b.must("unset", "db.yaml", `["stringData"]["port"]`)
	if _, out, _ := b.sops("decrypt", "db.yaml"); strings.Contains(out, "port") {
		t.Errorf("still there:\n%s", out)
	}
}

func TestAFailureLeavesTheOtherFilesDoneAndItsOwnUntouched(t *testing.T) {
	b := newBench(t)
	b.write("apps/a/secret.yaml", sample)
	b.write("apps/b/secret.yaml", "kind: Secret\napiVersion: v1\nstringData: {a: [}\n")
	b.write("apps/c/secret.yaml", sample)
	b.write("apps/c/kustomization.yaml", "resources: [secret.yaml]\n")
	b.write("apps/c/deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\n")
	broken := b.read("apps/b/secret.yaml")
	code, out, errOut := b.sluice("encrypt", "--age", b.recipient, "-i", "apps", "apps/b/secret.yaml", "apps/missing.yaml")
	if code != 1 || !strings.Contains(errOut, "apps/b/secret.yaml") || !strings.Contains(errOut, "apps/missing.yaml") || !strings.Contains(errOut, "2 of ") {
		t.Errorf("exit %d\n%s\n%s", code, out, errOut)
	}
	if b.read("apps/b/secret.yaml") != broken || b.read("apps/c/deployment.yaml") != "apiVersion: apps/v1\nkind: Deployment\n" {
		t.Error("a file that was not sealed was changed")
	}
	for _, name := range []string{"apps/a/secret.yaml", "apps/c/secret.yaml"} {
		if _, plain, _ := b.sops("decrypt", name); plain != sample {
			t.Errorf("%s: %s", name, plain)
		}
	}
	left, _ := filepath.Glob(b.path("apps/*/.sluice-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
