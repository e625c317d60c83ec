package parity

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/bench/lab"
)

// fixture is one behaviour: a script and the files it uses.
type fixture struct {
	name   string
	ns     string // p-NAME: its Namespace in both API servers, and how the names of its cluster-scoped objects begin
	script []string
	files  map[string]string
}

// readFixtures reads testdata. In files, %NS% stands for the fixture's Namespace and %AGE% for an age recipient's key.
func readFixtures(t *testing.T, w *worlds) []*fixture {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	must(t, err)
	slices.Sort(paths)
	var all []*fixture
	for _, path := range paths {
		data, err := os.ReadFile(path)
		must(t, err)
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		f := &fixture{name: name, ns: "p-" + name, files: map[string]string{}}
		text := strings.NewReplacer("%NS%", f.ns, "%AGE%", w.identity.String()).Replace(string(data))
		comment, sections := splitArchive(text)
		for _, line := range strings.Split(comment, "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				f.script = append(f.script, line)
			}
		}
		f.files = sections
		must(t, f.seal(w.identity.Recipient().String()))
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b *fixture) int {
		slow := func(f *fixture) bool { return slices.Contains(f.script, "slow") }
		switch {
		case slow(a) == slow(b):
			return 0
		case slow(a):
			return -1
		}
		return 1
	})
	return all
}

// splitArchive reads a txtar archive: what comes before the first "-- name --" line, and the files.
func splitArchive(text string) (comment string, files map[string]string) {
	files = map[string]string{}
	name := ""
	var body strings.Builder
	flush := func() {
		if name == "" {
			comment = body.String()
		} else {
			files[name] = body.String()
		}
		body.Reset()
	}
	for _, line := range strings.SplitAfter(text, "\n") {
		if next, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok && strings.HasSuffix(next, " --") {
			flush()
			name = strings.TrimSuffix(next, " --")
			continue
		}
		body.WriteString(line)
	}
	flush()
	return comment, files
}

// seal encrypts the files that the script's seal lines name, once, so that both engines see the same ciphertext.
func (f *fixture) seal(recipient string) error {
	for _, line := range f.script {
		path, ok := strings.CutPrefix(line, "seal ")
		if !ok {
			continue
		}
		sealed, err := lab.Seal(f.files[path], recipient)
		if err != nil {
			return err
		}
		f.files[path] = sealed
	}
	return nil
}
