package testkit

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Golden fails the test unless the file at path (relative to the test's package) holds got. With -update it writes the
// file instead. The flag belongs to the test's package, which declares it so that `make golden` finds it:
//
//	var _ = flag.Bool("update", false, "rewrite the golden files")
func Golden(t testing.TB, path string, got []byte) {
	t.Helper()
	if updating() {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.Fatalf("%s is missing; write it with go test -update. It would hold:\n%s", path, got)
	case err != nil:
		t.Fatal(err)
	case string(want) != string(got):
		line, w, g := firstDifference(string(want), string(got))
		t.Fatalf("%s differs from line %d (go test -update accepts):\nwant %q\ngot  %q\n\nall that was got:\n%s",
			path, line, w, g, got)
	}
}

// updating looks the flag up late: it is the importing package that declares it.
func updating() bool {
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true"
}

// firstDifference returns the number (from 1) and both texts of the first line that differs.
func firstDifference(want, got string) (line int, w, g string) {
	ws, gs := strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")
	for i := range max(len(ws), len(gs)) {
		w, g = "", ""
		if i < len(ws) {
			w = ws[i]
		}
		if i < len(gs) {
			g = gs[i]
		}
		if w != g {
			return i + 1, w, g
		}
	}
	return 0, "", ""
}
