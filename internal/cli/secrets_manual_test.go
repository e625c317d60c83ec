package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every command that docs/secrets.md shows is run by the script that it names, with the same flags.
func TestEachCommandOfTheManualIsRunByItsScript(t *testing.T) {
	root := filepath.Join("..", "..")
	manual, script := readFile(t, filepath.Join(root, "docs", "secrets.md")), readFile(t, filepath.Join(root, "e2e", "testdata", "secrets.txtar"))
	flags := regexp.MustCompile(`(^| )--?[a-z][a-z-]*`)
	var runs [][]string
	for _, m := range regexp.MustCompile(`(?m)^exec sluice secrets (.*)$`).FindAllStringSubmatch(script, -1) {
		runs = append(runs, append(strings.Fields(m[1])[:1], flags.FindAllString(m[1], -1)...))
	}
	shown := regexp.MustCompile(`(?m)^    \$ (?:.*\| )?sluice secrets (.*?)(?: +# .*)?$`).FindAllStringSubmatch(manual, -1)
	if len(shown) < 12 {
		t.Fatalf("%d commands", len(shown))
	}
	for _, m := range shown {
		text := strings.NewReplacer("--azure-kv", "--age", "--add-age", "-i").Replace(m[1]) // no vault, and no second person, in the script
		want := append(strings.Fields(text)[:1], flags.FindAllString(text, -1)...)
		if strings.HasPrefix(text, "exec-") {
			want = want[:1] // what follows is the program's
		}
		if !slices.ContainsFunc(runs, func(run []string) bool {
			return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(run, w) })
		}) {
			t.Errorf("no line of the script runs: sluice secrets %s", m[1])
		}
	}
	if _, err := os.Stat(filepath.Join(root, "docs", "secrets-check.md")); err != nil {
		t.Error(err)
	}
}
