package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Hooks sets up a Git repository: the check before each commit, and the diff driver.
type Hooks struct {
	tree    *Tree
	hook    string // path of pre-commit
	program string // how hook and driver call this program
}

// The marks around what is ours in files that are others' too.
const (
	blockBegin = "# sluice secrets install: begin"
	blockEnd   = "# sluice secrets install: end"
)

// driver is the name of the diff driver in .gitattributes and in the configuration.
const driver = "sluice-sops"

const attributes = "*.yaml diff=" + driver + "\n*.yml diff=" + driver + "\n*.json diff=" + driver + "\n*.env diff=" + driver + "\n*.ini diff=" + driver + "\n"

// NewHooks returns the hooks of the work tree that dir lies in.
func NewHooks(ctx context.Context, dir string) (*Hooks, error) {
	t, err := NewTree(ctx, dir, false)
	if err != nil {
		return nil, err
	}
	if !t.Git {
		return nil, &fault.Fault{Code: "SLU-GIT-021", Hop: fault.HopGit, Object: t.Root, Seen: "there is no Git work tree", Why: "hooks and attributes belong to a repository", Fix: "git init, or run it inside the repository"}
	}
	out, err := t.git("rev-parse", "--git-path", "hooks/pre-commit") // follows core.hooksPath
	if err != nil {
		return nil, err
	}
	h := &Hooks{tree: t, hook: strings.TrimSuffix(string(out), "\n"), program: "sluice"}
	if !filepath.IsAbs(h.hook) {
		h.hook = filepath.Join(t.Root, h.hook)
	}
	if _, err := exec.LookPath("sluice"); err != nil {
		if h.program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Install puts everything in place and says what it did, one line each. What is in place already stays as it is.
func (h *Hooks) Install() (done []string, err error) {
	if done, err = h.edit(done, h.hook, h.withHook, 0o755); err != nil {
		return done, err
	}
	at := filepath.Join(h.tree.Root, ".gitattributes")
	if done, err = h.edit(done, at, withAttributes, 0o644); err != nil {
		return done, err
	}
	for _, set := range [][2]string{
		{"diff." + driver + ".textconv", word(h.program) + " secrets textconv"},
		{"diff." + driver + ".cachetextconv", "false"}, // the cache is an object in the repository, in plain
	} {
		have, err := h.tree.git("config", "--local", "--get", set[0])
		if err == nil && strings.TrimSuffix(string(have), "\n") == set[1] {
			done = append(done, "git config "+set[0]+": already there")
			continue
		}
		if _, err := h.tree.git("config", "--local", set[0], set[1]); err != nil {
			return done, err
		}
		done = append(done, "git config "+set[0]+": set")
	}
	return done, nil
}

// Uninstall takes out what Install put in, and files that then hold nothing.
func (h *Hooks) Uninstall() (done []string, err error) {
	strip := func(old string) (string, error) { return without(old), nil }
	for _, path := range []string{h.hook, filepath.Join(h.tree.Root, ".gitattributes")} {
		if done, err = h.edit(done, path, strip, 0); err != nil {
			return done, err
		}
	}
	note := "removed"
	if _, err := h.tree.git("config", "--local", "--remove-section", "diff."+driver); err != nil {
		note = "not there"
	}
	return append(done, "git config diff."+driver+": "+note), nil
}

func withAttributes(old string) (string, error) {
	if strings.Contains(old, block(attributes)) {
		return old, nil
	}
	if old = without(old); old != "" && !strings.HasSuffix(old, "\n") {
		old += "\n"
	}
	return old + block(attributes), nil
}

// withHook puts the check first: what follows may end with exec or exit.
func (h *Hooks) withHook(old string) (string, error) {
	ours := block(word(h.program) + " secrets check --staged || exit $?\n")
	if strings.Contains(old, ours) {
		return old, nil
	}
	old = without(old)
	shebang, rest, _ := strings.Cut(old, "\n")
	switch {
	case strings.TrimSpace(old) == "":
		shebang, rest = "#!/bin/sh", ""
	case !strings.HasPrefix(shebang, "#!") || !strings.Contains(shebang, "sh"):
		return "", &fault.Fault{Code: "SLU-GIT-022", Hop: fault.HopGit, File: h.hook, Seen: "the pre-commit hook is not a shell script",
			Why: "a block can only be added to one whose first line names a shell", Fix: "call this from the hook: sluice secrets check --staged"}
	}
	return shebang + "\n" + ours + rest, nil
}

func block(text string) string { return blockBegin + "\n" + text + blockEnd + "\n" }

// without takes our block out of a text.
func without(text string) string {
	before, rest, ok := strings.Cut(text, blockBegin+"\n")
	if !ok {
		return text
	}
	_, after, ok := strings.Cut(rest, blockEnd+"\n")
	if !ok {
		return text // somebody took the end away; whose lines follow is not known
	}
	return before + after
}

// edit changes a file and notes it. An empty result, or a script that is only its first line, is removed.
func (h *Hooks) edit(done []string, path string, change func(string) (string, error), mode os.FileMode) ([]string, error) {
	name := path
	if rel, err := filepath.Rel(h.tree.Root, path); err == nil && !strings.HasPrefix(rel, "..") {
		name = rel
	}
	old, err := os.ReadFile(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return done, err
	}
	text, err := change(string(old))
	if err != nil {
		return done, err
	}
	switch {
	case text == string(old):
		note := ": already there"
		if mode == 0 {
			note = ": not there"
		}
		return append(done, name+note), nil
	case mode == 0 && (strings.TrimSpace(text) == "" || strings.TrimSpace(text) == "#!/bin/sh"):
		return append(done, name+": removed"), os.Remove(path)
	}
	if info, err := os.Stat(path); err == nil { // a script of others keeps its mode, but a hook that can't run is none
		mode = info.Mode().Perm() | mode&0o111
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return done, err
	}
	if err := write(path, []byte(text), mode); err != nil {
		return done, err
	}
	verb := ": changed"
	if missing {
		verb = ": written"
	}
	return append(done, name+verb), nil
}

// write replaces a file whole, through a symbolic link if it is one.
func write(path string, data []byte, mode os.FileMode) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".sluice-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone by then if all went well
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
