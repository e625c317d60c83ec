package e2e

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// eventually [-t 60s] [-not] PATTERN COMMAND [ARG…] runs the command until its output matches the pattern.
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	limit, not := 60*time.Second, false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-t":
			d, err := time.ParseDuration(args[1])
			ts.Check(err)
			limit, args = d, args[2:]
		case "-not":
			not, args = true, args[1:]
		default:
			ts.Fatalf("eventually: unknown flag %s", args[0])
		}
	}
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually [-t 60s] [-not] PATTERN COMMAND [ARG…]")
	}
	re, err := regexp.Compile("(?ms)" + args[0])
	ts.Check(err)
	start := time.Now()
	for {
		_ = ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout") + ts.ReadFile("stderr")
		if re.MatchString(out) != not {
			return
		}
		if time.Since(start) > limit {
			ts.Fatalf("after %s the output of %s still is:\n%s", limit, strings.Join(args[1:], " "), out)
		}
		time.Sleep(100 * time.Millisecond) // the pace of the poll, not a wait for luck
	}
}

var exportLine = regexp.MustCompile(`(?m)^export ([A-Za-z_]+)='?([^'\n]*)'?$`)

// sourceenv [ARG…] does what `eval "$(sluice env ARG…)"` does in a shell.
func cmdSourceEnv(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("sluice", append([]string{"env"}, args...)...))
	lines := exportLine.FindAllStringSubmatch(ts.ReadFile("stdout"), -1)
	if len(lines) < 8 {
		ts.Fatalf("sluice env exports only %d variables", len(lines))
	}
	for _, l := range lines {
		ts.Setenv(l[1], os.Expand(strings.Trim(l[2], `"`), ts.Getenv))
	}
}

// replace FILE OLD NEW replaces text that must be there; \n in it is a line's end.
func cmdReplace(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	before, after := strings.ReplaceAll(args[1], `\n`, "\n"), strings.ReplaceAll(args[2], `\n`, "\n")
	if !strings.Contains(string(data), before) {
		ts.Fatalf("%s does not contain %q", args[0], before)
	}
	ts.Check(os.WriteFile(path, []byte(strings.ReplaceAll(string(data), before, after)), 0o644))
}

// tamper FILE changes one character of a SOPS file: in its mac, so that every value still decrypts.
func cmdTamper(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	// A character of a plain field that the MAC covers would do as well; the sample's only unencrypted values are
	// metadata, which kubectl users edit: the name.
	i := bytes.Index(data, []byte("name: sample-secret"))
	if i < 0 {
		ts.Fatalf("%s: no name to change", args[0])
	}
	data[i+len("name: s")] = 'i'
	ts.Check(os.WriteFile(path, data, 0o644))
}

// killchild PATTERN kills, with SIGKILL, the one process of this script's platform whose command line matches.
func cmdKillChild(ts *testscript.TestScript, _ bool, args []string) {
	re := regexp.MustCompile(args[0])
	var hit []int
	for pid, line := range processes(ts.Getenv("SLUICE_STATE_DIR")) {
		if re.MatchString(line) {
			hit = append(hit, pid)
		}
	}
	if len(hit) != 1 {
		ts.Fatalf("%d processes match %q:\n%v", len(hit), args[0], processes(ts.Getenv("SLUICE_STATE_DIR")))
	}
	ts.Check(syscall.Kill(hit[0], syscall.SIGKILL))
}

// processes are the processes whose command line or environment names the state folder.
func processes(state string) map[int]string {
	found := map[int]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		line, _ := os.ReadFile(filepath.Join(d, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(d, "environ"))
		text := strings.ReplaceAll(string(line), "\x00", " ")
		own := strings.Contains(text, state+"/") || strings.Contains(text, state+" ") || strings.Contains(string(environ), state)
		if own && strings.Contains(text, "sluice") && pid != os.Getpid() {
			found[pid] = text
		}
	}
	return found
}

// nothingleft [-processes] says that no process of the platform lives and, without the flag, that its proxy's port is
// free.
func cmdNothingLeft(ts *testscript.TestScript, _ bool, args []string) {
	if left := processes(ts.Getenv("SLUICE_STATE_DIR")); len(left) > 0 {
		ts.Fatalf("processes are left: %v", left)
	}
	if len(args) > 0 {
		return
	}
	proxy := strings.TrimPrefix(ts.Getenv("HTTPS_PROXY"), "http://")
	if c, err := net.DialTimeout("tcp", proxy, time.Second); err == nil {
		_ = c.Close()
		ts.Fatalf("%s still listens", proxy)
	}
}

// occupy URL holds the TCP address of a URL for the rest of the script.
func cmdOccupy(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", strings.TrimPrefix(args[0], "http://"))
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
}
