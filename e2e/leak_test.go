package e2e

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// noplaintext DIR VALUE… scans every file below DIR, etcd's own data aside, for the values in every form that
// testkit.Canary knows: raw, escaped as in JSON, hexadecimal, base64 at each alignment.
// Compressed files are read as what they hold: artifacts are unpacked, and Git's objects are listed by Git.
func cmdNoPlaintext(ts *testscript.TestScript, _ bool, args []string) {
	check := func(name string, data []byte) {
		for _, v := range args[1:] {
			if form := testkit.Canary(v).In(data); form != "" {
				ts.Fatalf("%s holds the plain value %q (%s)", name, v, form)
			}
		}
	}
	files, stores := 0, 0
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // gone since: a token that was replaced, a log that was rotated
		case d.IsDir() && d.Name() == "etcd":
			return fs.SkipDir
		case d.IsDir() && d.Name() == "objects":
			stores++
			check(path, gitObjects(ts, filepath.Dir(path)))
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		files++
		check(path, data)
		if strings.HasSuffix(path, ".gz") {
			check(path, gunzip(data))
		}
		return nil
	}))
	if files < 20 || stores < 2 {
		ts.Fatalf("only %d files and %d Git stores were scanned below %s", files, stores, args[0])
	}
}

// gitObjects is the content of every object in a Git folder, reachable or not.
func gitObjects(ts *testscript.TestScript, dir string) []byte {
	out, err := exec.Command("git", "-c", "safe.directory=*", "--git-dir", dir, "cat-file", "--batch-all-objects", "--batch").Output()
	if err != nil {
		ts.Fatalf("list the objects of %s: %v", dir, err)
	}
	return out
}

// gunzip is what a possibly cut archive holds.
func gunzip(data []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	out, _ := io.ReadAll(r)
	return out
}
