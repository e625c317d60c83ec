package files

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// Entry is one file to work on.
type Entry struct {
	Path string
	// Found says that the file was met in a folder, not named: what does not apply to it is skipped without a word.
	Found bool
}

// Expand turns arguments into files, in the order of the arguments, each once: a file stands for itself, a folder for
// the files below it that may hold secrets, a glob (*, ?, [a-z], ** for any depth) for what it matches, when the shell
// has left it alone. Hidden files and folders, symbolic links and kustomization files in folders are passed over.
func Expand(args []string) ([]Entry, error) {
	var out []Entry
	seen := map[string]int{}
	add := func(path string, found bool) {
		if at, ok := seen[filepath.Clean(path)]; ok {
			out[at].Found = out[at].Found && found // naming a file weighs more than meeting it
			return
		}
		seen[filepath.Clean(path)] = len(out)
		out = append(out, Entry{path, found})
	}
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil && strings.ContainsAny(arg, "*?[") {
			matches, err := glob(arg)
			if err != nil || len(matches) == 0 {
				return nil, fileFault("001", arg, "nothing matches", "", "check the pattern: ls -d "+arg, exitNoFile, err)
			}
			for _, m := range matches {
				add(m, true)
			}
			continue
		}
		if err != nil || !info.IsDir() {
			add(arg, false) // a missing file fails when it is read, beside the others
			continue
		}
		if err := walk(arg, func(path string) { add(path, true) }); err != nil {
			return nil, fileFault("002", arg, "the folder cannot be read", reason(err), "ls -la "+shell(arg), exitCannotRead, err)
		}
	}
	return out, nil
}

// formats are the suffixes that files met in folders must have.
var formats = []string{".yaml", ".yml", ".json", ".env", ".ini"}

func walk(dir string, add func(path string)) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		hidden := strings.HasPrefix(name, ".") && name != ".env" && path != dir
		switch {
		case d.IsDir() && hidden:
			return fs.SkipDir
		case d.IsDir() || hidden || !d.Type().IsRegular():
		case name == "kustomization.yaml" || name == "kustomization.yml" || name == "Kustomization":
		case slices.Contains(formats, filepath.Ext(name)):
			add(path)
		}
		return nil
	})
}

// glob is filepath.Glob with ** for any number of folders.
func glob(pattern string) ([]string, error) {
	if !strings.Contains(pattern, "**") {
		all, err := filepath.Glob(pattern)
		return slices.DeleteFunc(all, func(p string) bool { i, err := os.Lstat(p); return err != nil || !i.Mode().IsRegular() }), err
	}
	root := pattern[:strings.Index(pattern, "**")]
	root = filepath.Dir(root + "x")
	expr := regexp.QuoteMeta(filepath.ToSlash(filepath.Clean(pattern)))
	expr = strings.NewReplacer(`\*\*/`, `(?:.*/)?`, `\*\*`, `.*`, `\*`, `[^/]*`, `\?`, `[^/]`).Replace(expr)
	re, err := regexp.Compile("^" + expr + "$")
	if err != nil {
		return nil, err
	}
	var out []string
	err = walk(root, func(path string) {
		if re.MatchString(filepath.ToSlash(filepath.Clean(path))) {
			out = append(out, path)
		}
	})
	return out, err
}

var plainWord = lazyregexp.New(`^[\w./+@:-]+$`)

// shell quotes a path for a command that the reader may copy.
func shell(path string) string {
	if plainWord.MatchString(path) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
