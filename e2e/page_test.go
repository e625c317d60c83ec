package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// standIns are the commands of a page that `sluice env` stands for without Azure.
var standIns = []string{"az login", "az aks get-credentials -g gitops -n sluice-aks"}

// What the pages call the repository and the key. The platform's repository is on loopback, and not https; what its key is
// called stands in $KEY.
const (
	exampleRemote = "https://git.example.com/team/gitops.git"
	exampleVault  = "my-vault.vault.azure.net"
	exampleKey    = "https://" + exampleVault + "/keys/sops"
)

// Azure's and Git's ids, which differ from run to run; how long something took, and when, nobody compares.
var (
	ids  = regexp.MustCompile(`\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|(?:\b|_)[0-9a-f]{32}\b|\b[0-9a-f]{40}\b|\bkv-[a-z2-7]{13}\b`)
	took = regexp.MustCompile(`\([0-9.]+m?s\)`)
	date = regexp.MustCompile(`\b20\d\d-\d\d-\d\d\b`)
)

// page is a document whose console blocks are run.
type page struct {
	ts             *testscript.TestScript
	command, print *strings.Replacer // from what the page calls things to what they are called here, and back
	now            map[string]string // ids in the page: those of this run
	differ         []string
}

// cmdPage runs, in the current folder, the commands of docs/PAGE's console blocks one after another: what is printed must be
// what the page says, with other ids in the same places. Its first YAML block is written to FILE before. With -update
// the page is made to say what is printed.
func cmdPage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: page PAGE FILE")
	}
	path := filepath.Join(ts.Getenv("ROOTBIN"), "..", "docs", args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	p := newPage(ts)
	_, block, found := strings.Cut(string(data), "```yaml\n")
	block, _, closed := strings.Cut(block, "```\n")
	if !found || !closed {
		ts.Fatalf("%s has no YAML block", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(block), 0o644))
	var fresh strings.Builder // the page with what was printed
	commands, in := 0, false
	said, printed := "", "" // by the last command: what the page says, and what is
	flush := func() {
		p.compare(said, printed)
		fresh.WriteString(printed)
		said, printed = "", ""
	}
	for line := range strings.Lines(string(data)) {
		switch command, is := strings.CutPrefix(line, "$ "); {
		case line == "```console\n":
			in = true
		case in && line == "```\n":
			flush()
			in = false
		case in && is:
			flush()
			commands++
			line = "$ " + p.current(command)
			printed = p.run(strings.TrimSpace(p.current(command)))
		case in:
			said += line
			continue
		}
		fresh.WriteString(line)
	}
	if commands == 0 {
		ts.Fatalf("%s has no commands", args[0])
	}
	switch {
	case p.differ == nil:
	case *update:
		ts.Check(os.WriteFile(path, []byte(fresh.String()), 0o644))
	default:
		ts.Fatalf("%s is not what is printed (run with -update to accept):\n%s", args[0], strings.Join(p.differ, "\n"))
	}
}

func newPage(ts *testscript.TestScript) *page {
	var here, there []string
	if ts.Exec("git", "remote", "get-url", "origin") == nil {
		remote := strings.TrimSpace(ts.ReadFile("stdout"))
		here, there = append(here, exampleRemote, remote+" --allow-insecure-http"), append(there, remote, exampleRemote)
	}
	if key := ts.Getenv("KEY"); key != "" {
		u, err := url.Parse(key)
		ts.Check(err)
		here, there = append(here, exampleKey, key), append(there, key, exampleKey, u.Host, exampleVault)
	}
	return &page{ts: ts, now: map[string]string{}, command: strings.NewReplacer(here...), print: strings.NewReplacer(there...)}
}

// current is a command of the page with this run's ids.
func (p *page) current(command string) string {
	return ids.ReplaceAllStringFunc(command, func(id string) string {
		if p.now[id] == "" {
			p.ts.Fatalf("no command has printed %s before: %s", id, command)
		}
		return p.now[id]
	})
}

// run runs a command as a shell does and returns what it prints, as a reader of the page would see it.
func (p *page) run(command string) string {
	if slices.Contains(standIns, command) {
		return ""
	}
	command = p.command.Replace(command)
	// What a controller does after bootstrap said that it is done can take a moment.
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		err := p.ts.Exec("sh", "-c", "exec 2>&1; "+command)
		if err == nil {
			break
		}
		if !strings.HasPrefix(command, "kubectl get ") || time.Since(start) > 20*time.Second {
			p.ts.Fatalf("%s: %v\n%s", command, err, p.ts.ReadFile("stdout"))
		}
	}
	out := p.print.Replace(p.ts.ReadFile("stdout"))
	if out != "" && !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	return out
}

// compare holds what the page says against what was printed, and learns from lines that agree which ids stand for which.
func (p *page) compare(said, printed string) {
	plain := func(s string) string {
		return date.ReplaceAllString(took.ReplaceAllString(ids.ReplaceAllString(s, "ID"), "(TIME)"), "DATE")
	}
	if plain(said) != plain(printed) {
		p.differ = append(p.differ, fmt.Sprintf("--- the page\n%s--- printed\n%s", said, printed))
	}
	like := map[string]string{}
	for line := range strings.Lines(printed) {
		like[plain(line)] = line
	}
	for line := range strings.Lines(said) {
		now := ids.FindAllString(like[plain(line)], -1)
		for i, id := range ids.FindAllString(line, -1) {
			switch {
			case i >= len(now):
			case p.now[id] == "":
				p.now[id] = now[i]
			case p.now[id] != now[i]:
				p.differ = append(p.differ, fmt.Sprintf("the page's %s is %s in one place and %s in another", id, p.now[id], now[i]))
			}
		}
	}
}
