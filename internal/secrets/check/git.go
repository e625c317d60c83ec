package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// Tree is where the files to check come from: a folder, or a Git work tree, of which only tracked files count.
type Tree struct {
	Root   string // absolute
	Git    bool
	staged bool
	ctx    context.Context // of the check that the tree is made for
	blobs  blobs

	once    sync.Once
	changed map[string]bool // since the last commit
}

// NewTree returns the tree that dir lies in: Git's work tree, or dir itself. staged reads what is about to be committed,
// not what lies in the folder. Without a repository that is a fault of hop "git".
func NewTree(ctx context.Context, dir string, staged bool) (*Tree, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	t := &Tree{Root: dir, staged: staged, ctx: ctx}
	top, err := t.git("rev-parse", "--show-toplevel")
	switch {
	case err == nil:
		t.Root, t.Git = strings.TrimSuffix(string(top), "\n"), true
	case staged:
		return nil, &fault.Fault{Code: "SLU-GIT-020", Hop: fault.HopGit, Object: dir, Seen: "there is no Git work tree", Why: "--staged checks what is about to be committed",
			Fix: "run it inside the repository, or without --staged", Err: err}
	}
	return t, nil
}

// Close ends the process that reads Git's objects, if there is one.
func (t *Tree) Close() error { return t.blobs.close() }

// command is Git in the tree. Nothing that the repository's configuration names is started.
func (t *Tree) command(args ...string) *exec.Cmd {
	return exec.CommandContext(t.ctx, "git", append([]string{"-C", t.Root, "-c", "core.fsmonitor=false", "-c", "core.quotePath=false"}, args...)...)
}

func (t *Tree) git(args ...string) ([]byte, error) {
	cmd := t.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}

// Files lists the files under the given paths, relative to the root. Paths are the user's: absolute, or relative to the
// working directory. None means all.
func (t *Tree) Files(paths []string, exclude []string) ([]string, error) {
	var under []string
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		if real, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil { // Git's root is told without links
			abs = filepath.Join(real, filepath.Base(abs))
		}
		rel, err := filepath.Rel(t.Root, abs)
		if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			return nil, &fault.Fault{Code: "SLU-USAGE-040", Hop: fault.HopUsage, File: p, Seen: "the path is outside of " + t.Root, Why: "one check is about one repository", Fix: "run it in the path's own repository"}
		}
		if _, err := os.Lstat(abs); err != nil && !t.staged {
			return nil, &fault.Fault{Code: "SLU-USAGE-041", Hop: fault.HopUsage, File: p, Seen: "there is no such file or folder", Fix: "correct the path", Err: err}
		}
		under = append(under, filepath.ToSlash(rel))
	}
	all, err := t.list()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(name string) bool {
		in := len(under) == 0 || slices.ContainsFunc(under, func(u string) bool { return u == "." || name == u || strings.HasPrefix(name, u+"/") })
		return !in || excluded(name, exclude)
	})
	slices.Sort(all)
	return slices.Compact(all), nil
}

// excluded holds a name against patterns of path.Match, each for the whole path, for any folder in it, or for its end.
func excluded(name string, patterns []string) bool {
	parts := strings.Split(name, "/")
	for _, p := range patterns {
		p = strings.TrimSuffix(p, "/")
		for i := range parts {
			for _, candidate := range []string{strings.Join(parts[:i+1], "/"), parts[i]} {
				if ok, _ := filepath.Match(p, candidate); ok {
					return true
				}
			}
		}
	}
	return false
}

func (t *Tree) list() ([]string, error) {
	switch {
	case t.staged:
		return t.names("diff", "--cached", "--name-only", "--no-ext-diff", "--diff-filter=ACMRT", "-z")
	case t.Git:
		return t.names("ls-files", "-z")
	}
	var out []string
	err := filepath.WalkDir(t.Root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if d.Type().IsRegular() {
			rel, err := filepath.Rel(t.Root, p)
			out = append(out, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	return out, err
}

func (t *Tree) names(args ...string) ([]string, error) {
	out, err := t.git(args...)
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 }), nil
}

// Read returns the file as it lies in the folder, or as it is staged; nil for what is no regular file, or too large to be
// a document.
func (t *Tree) Read(name string) ([]byte, error) {
	if t.staged {
		return t.blobs.read(t, ":"+name) // nil: not in the index, or a submodule
	}
	if filepath.IsAbs(name) {
		return os.ReadFile(name) // --config
	}
	full := filepath.Join(t.Root, filepath.FromSlash(name))
	info, err := os.Lstat(full)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || err == nil && (!info.Mode().IsRegular() || info.Size() > 4*sops.MaxSize) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(full)
}

// Before returns the last commit's content of a file that has changed since.
func (t *Tree) Before(name string) ([]byte, error) {
	if !t.Git {
		return nil, nil
	}
	t.once.Do(func() {
		t.changed = map[string]bool{}
		names, err := t.names("diff", "HEAD", "--name-only", "--no-ext-diff", "--diff-filter=MT", "-z")
		if err != nil {
			return // no commit yet
		}
		for _, n := range names {
			t.changed[n] = true
		}
	})
	if !t.changed[name] {
		return nil, nil
	}
	return t.blobs.read(t, "HEAD:"+name)
}
