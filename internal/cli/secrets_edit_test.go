package cli

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// editor writes a script to be $EDITOR.
func (b *bench) editor(script string) string {
	b.t.Helper()
	path := b.write("editor.sh", "#!/bin/sh\n"+script)
	if err := os.Chmod(path, 0o755); err != nil {
		b.t.Fatal(err)
	}
	return "EDITOR=" + path
}

func (b *bench) edit(script, stdin string) (code int, stderr string) {
	b.t.Helper()
	code, _, stderr = b.process(os.Args[0], []string{"secrets", "edit", "db.yaml"}, stdin, b.editor(script))
	return code, stderr
}

func TestEditLendsMemoryAndTakesItBack(t *testing.T) {
	b := newBench(t)
	b.write("db.yaml", sample)
	b.must("encrypt", "--age", b.recipient, "-i", "db.yaml")
	where := b.path("where")
	code, errOut := b.edit(`echo "$1" > `+where+`
stat -c '%a %A' "$1" >> `+where+`; stat -c '%a' "$(dirname "$1")" >> `+where+`; stat -f -c %T "$1" >> `+where+`
sed -i s/hunter2/edited/ "$1"`, "")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	lines := strings.Split(b.read("where"), "\n")
	if !strings.HasPrefix(lines[1], "600 ") || lines[2] != "700" || lines[3] != "tmpfs" && lines[3] != "ramfs" {
		t.Errorf("the plaintext stood in %v", lines)
	}
	if _, err := os.Stat(filepath.Dir(lines[0])); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", lines[0], err)
	}
	if _, plain, _ := b.sops("decrypt", "db.yaml"); plain != strings.Replace(sample, "hunter2", "edited", 1) {
		t.Errorf("sops reads\n%s", plain)
	}
}

func TestEditWritesNothingWhenNothingChanged(t *testing.T) {
	b := newBench(t)
	b.write("db.yaml", sample)
	b.must("encrypt", "--age", b.recipient, "-i", "db.yaml")
	before := b.read("db.yaml")
	if code, errOut := b.edit("exit 0", ""); code != 200 || b.read("db.yaml") != before {
		t.Errorf("exit %d: %s", code, errOut)
	}
	if code, _ := b.edit("exit 3", ""); code != 201 || b.read("db.yaml") != before {
		t.Errorf("a failing editor: exit %d", code)
	}
}

func TestEditReopensTheEditorOnWhatDoesNotParse(t *testing.T) {
	b := newBench(t)
	b.write("db.yaml", sample)
	b.must("encrypt", "--age", b.recipient, "-i", "db.yaml")
	script := `n=$(cat ` + b.path("n") + ` 2>/dev/null || echo 0); echo $((n+1)) > ` + b.path("n") + `
if [ "$n" = 0 ]; then echo 'a: [CANARY-broken' > "$1"; else printf 'a: fixed\n' > "$1"; fi`
	code, errOut := b.edit(script, "\n")
	if code != 0 || !strings.Contains(errOut, "not valid yaml") || strings.Contains(errOut, "CANARY") || strings.TrimSpace(b.read("n")) != "2" {
		t.Errorf("exit %d after %s editors: %s", code, b.read("n"), errOut)
	}
	if _, plain, _ := b.sops("decrypt", "db.yaml"); plain != "a: fixed\n" {
		t.Errorf("sops reads %q", plain)
	}
	os.Remove(b.path("n"))
	if code, _ := b.edit(script, ""); code != 2 {
		t.Errorf("giving up: exit %d", code)
	}
}

// Killed in the middle of an edit, sluice cannot tidy up; its watcher does.
func TestEditKilledLeavesNothing(t *testing.T) {
	for _, signal := range []string{"-KILL", "-TERM", "-HUP", "-INT"} {
		t.Run(signal, func(t *testing.T) {
			b := newBench(t)
			b.write("db.yaml", sample)
			b.must("encrypt", "--age", b.recipient, "-i", "db.yaml")
			before := b.read("db.yaml")
			c := exec.Command(os.Args[0], "secrets", "edit", "db.yaml")
			c.Dir = b.dir
			// The editor reports where it is, then waits for the end of a pipe that the test holds.
			fifo := b.path("hold")
			if out, err := exec.Command("mkfifo", fifo).CombinedOutput(); err != nil {
				t.Fatal(string(out))
			}
			c.Env = append(b.env, b.editor(`echo "$1"; exec cat `+fifo+` > /dev/null`))
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			path, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			path = strings.TrimSpace(path)
			if data, err := os.ReadFile(path); err != nil || string(data) != sample {
				t.Fatalf("no plaintext to lose at %s: %v", path, err)
			}
			if err := exec.Command("kill", signal, itoa(c.Process.Pid)).Run(); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, 10*time.Second, func() error {
				if _, err := os.Stat(filepath.Dir(path)); !os.IsNotExist(err) {
					return os.ErrExist
				}
				return nil
			})
			hold, err := os.OpenFile(fifo, os.O_RDWR, 0) // lets the editor go, if it is still there
			if err == nil {
				hold.Close()
			}
			_ = c.Wait()
			if b.read("db.yaml") != before {
				t.Error("the file was changed")
			}
			nothingPlain(t, b.dir)
		})
	}
}

// nothingPlain fails if a file below dir holds the canary.
func nothingPlain(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), "CANARY") {
			t.Errorf("%s holds plaintext", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestExecFileAndExecEnvPutNothingOnADisk(t *testing.T) {
	b := newBench(t)
	b.write("db.yaml", sample)
	b.write("prod.env", "PASSWORD=CANARY-env\nPORT=8080\n")
	b.must("encrypt", "--age", b.recipient, "-i", "db.yaml", "prod.env")
	for _, more := range [][]string{nil, {"--no-fifo"}} {
		code, out, errOut := b.sluice(append(append([]string{"exec-file"}, more...), "db.yaml", "cat {}; echo {}; exit 3")...)
		path := strings.TrimPrefix(out, sample)
		if code != 3 || path == out {
			t.Errorf("%v: exit %d, %q, %s", more, code, out, errOut)
		}
		if _, err := os.Stat(filepath.Dir(strings.TrimSpace(path))); !os.IsNotExist(err) {
			t.Errorf("%v: %s is still there", more, path)
		}
	}
	if code, out, errOut := b.sluice("exec-file", "db.yaml", "true {}"); code != 0 || out != "" {
		t.Errorf("a pipe that nobody reads: exit %d, %s", code, errOut)
	}
	if _, out, errOut := b.sluice("exec-env", "--pristine", "prod.env", "echo $PASSWORD/$PORT/$HOME"); out != "CANARY-env/8080/\n" {
		t.Errorf("exec-env: %q, %s", out, errOut)
	}
	if _, out, _ := b.sluice("exec-env", "--same-process", "prod.env", "echo $PORT"); out != "8080\n" {
		t.Errorf("--same-process: %q", out)
	}
	if code, _, errOut := b.sluice("exec-env", "db.yaml", "env"); code != 1 || strings.Contains(errOut, "CANARY") {
		t.Errorf("a tree as environment: exit %d, %s", code, errOut)
	}
}
