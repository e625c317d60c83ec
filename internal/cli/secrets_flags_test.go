package cli

import (
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// upstreamVerbs asks the sops command, a tool dependency, for its verbs and each one's flags by their long names, as its
// --help prints them. The verb "" is sops without a verb.
func upstreamVerbs(t *testing.T) map[string][]string {
	t.Helper()
	sops, err := builtSOPS()
	if err != nil {
		t.Fatal(err)
	}
	verbs := map[string][]string{}
	flag := regexp.MustCompile(`^   --([a-z][a-z-]*)`)
	command := regexp.MustCompile(`^  +([a-z][a-z-]*)(?:, [a-z]+)?  +[A-Za-z]`)
	var walk func(verb string)
	walk = func(verb string) {
		out, err := exec.Command(sops, append(strings.Fields(verb), "--help")...).Output()
		if err != nil {
			t.Fatalf("sops %s --help: %v", verb, err)
		}
		section := ""
		verbs[verb] = nil
		var below []string
		for line := range strings.Lines(string(out)) {
			if line[0] != ' ' && strings.HasSuffix(line, ":\n") {
				section = line
			}
			if m := flag.FindStringSubmatch(line); m != nil && strings.Contains(section, "OPTIONS") {
				verbs[verb] = append(verbs[verb], m[1])
			} else if m := command.FindStringSubmatch(line); m != nil && strings.Contains(section, "COMMANDS") && m[1] != "help" {
				below = append(below, strings.TrimSpace(verb+" "+m[1]))
			}
		}
		for _, v := range below {
			if !strings.HasPrefix(v, "completion ") {
				walk(v)
			}
		}
	}
	walk("")
	return verbs
}

// flagRow is a line of the table in docs/secrets-flags.md.
type flagRow struct{ verbs, flags, state, proof string }

var backticked = regexp.MustCompile("`([^`]+)`")

func flagTable(t *testing.T) (rows []flagRow) {
	t.Helper()
	for line := range strings.Lines(readFile(t, filepath.Join("..", "..", "docs", "secrets-flags.md"))) {
		if cells := strings.Split(strings.TrimSpace(line), " | "); strings.HasPrefix(line, "| ") && len(cells) == 4 && !strings.Contains(line, "| verbs") {
			rows = append(rows, flagRow{cells[1], strings.TrimPrefix(cells[0], "| "), cells[2], strings.TrimSuffix(cells[3], " |")})
		}
	}
	return rows
}

// find is the row for a flag of a verb: the flag's own, with the verb or "all" in its list.
func find(rows []flagRow, verb, flag string) *flagRow {
	for i, r := range rows {
		var names []string
		for _, m := range backticked.FindAllStringSubmatch(r.flags, -1) {
			names = append(names, m[1])
		}
		verbs := strings.Split(r.verbs, ", ")
		if slices.Contains(names, "--"+flag) && (slices.Contains(verbs, verb) || slices.Contains(verbs, "all") || verb == "" && slices.Contains(verbs, "none")) {
			return &rows[i]
		}
	}
	return nil
}

// TestEveryVerbAndFlagOfSOPSHasARow walks what sops itself says that it has. A flag that works is one that our verb of the
// same name takes; a refused one is refused by name; and a new sops with another flag fails here until it is decided.
func TestEveryVerbAndFlagOfSOPSHasARow(t *testing.T) {
	upstream, rows := upstreamVerbs(t), flagTable(t)
	if len(upstream) < 16 || len(upstream["encrypt"]) < 18 || len(upstream[""]) < 50 {
		t.Fatalf("sops has %d verbs, encrypt %d flags: its help was not read", len(upstream), len(upstream["encrypt"]))
	}
	tests := testNames(t)
	ours := newSecrets(Streams{Out: io.Discard, Err: io.Discard, Env: func(string) string { return "" }})
	for _, verb := range slices.Sorted(maps.Keys(upstream)) {
		cmd, rest, err := ours.Find(strings.Fields(verb))
		if verb != "" && (err != nil || len(rest) > 0) {
			if r := verbRow(rows, verb); r == nil || r.state != "elsewhere" {
				t.Errorf("sluice secrets has no %q, and no row says where it is", verb)
			}
			continue
		}
		if verb != "" && verbRow(rows, verb) == nil {
			t.Errorf("the verb %q has no row", verb)
		}
		for _, flag := range upstream[verb] {
			r := find(rows, verb, flag)
			switch {
			case flag == "help":
			case verb == "publish" || verb == "keyservice": // refused as a whole
			case r == nil:
				t.Errorf("sops %s --%s has no row", verb, flag)
			case r.state == "works" && verb != "":
				if f := cmd.Flags().Lookup(flag); f == nil || f.Hidden {
					t.Errorf("sluice secrets %s --%s is said to work and is not there", verb, flag)
				}
			case r.state == "refused" && verb != "":
				if err := refusal(cmd, flag); err == nil || !strings.Contains(err.Error(), "SLU-USAGE-036") && !strings.Contains(err.Error(), flag) {
					t.Errorf("sluice secrets %s --%s is not refused by name: %v", verb, flag, err)
				}
			}
		}
	}
	for _, r := range rows {
		names := regexp.MustCompile(`\bTest[A-Z]\w*`).FindAllString(r.proof, -1)
		if len(names) == 0 && len(r.proof) < 20 {
			t.Errorf("%s of %s: neither a test nor a reason", r.flags, r.verbs)
		}
		for _, n := range names {
			if !tests[n] {
				t.Errorf("%s of %s: there is no %s", r.flags, r.verbs, n)
			}
		}
	}
}

func verbRow(rows []flagRow, verb string) *flagRow {
	for i, r := range rows {
		if r.flags == "the verb" && slices.Contains(strings.Split(r.verbs, ", "), verb) {
			return &rows[i]
		}
	}
	return nil
}

// refusal is what the flags' own check says when the flag is given.
func refusal(cmd *cobra.Command, flag string) error {
	f := cmd.Flags().Lookup(flag)
	if f == nil {
		return nil
	}
	value := "x"
	if f.Value.Type() == "bool" {
		value = "false"
	}
	was := f.Changed
	defer func() { f.Changed = was }()
	if err := cmd.Flags().Set(flag, value); err != nil {
		return err
	}
	err := refused(cmd, func(string) string { return "" })
	_ = f.Value.Set(f.DefValue)
	if err != nil {
		return fmt.Errorf("%w", err)
	}
	return nil
}

// testNames are the tests of this package and of those that it stands on.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, dir := range []string{".", "../secrets", "../sops", "../keyring", "../secrets/check", "../secrets/rules"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+)\(`).FindAllStringSubmatch(string(text), -1) {
				names[m[1]] = true
			}
		}
	}
	return names
}
