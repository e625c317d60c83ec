package scratch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// ErrUnchanged is what Edit returns when the editor left the text as it was.
var ErrUnchanged error = &fault.Fault{Code: "SLU-SCRATCH-002", Hop: fault.HopUsage, Seen: "the file has not changed", Why: "the editor left it as it was, so nothing was written", Exit: 200}

// Editor opens texts in the user's editor.
type Editor struct {
	Watch    []string // the command line that ends in Sweep
	Env      func(string) string
	In       io.Reader
	Out, Err io.Writer
}

// Edit gives text to the editor under the base name of name, and calls check with what it left there. If check fails,
// its error is shown and the editor opened again, until the user gives up with Ctrl-C or the end of input. The file is
// gone when Edit returns.
func (e Editor) Edit(ctx context.Context, name string, text []byte, check func([]byte) error) ([]byte, error) {
	argv, err := e.command()
	if err != nil {
		return nil, err
	}
	NoCore()
	folder, err := New(e.Watch, e.Env)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	path, err := folder.Write(name, text)
	if err != nil {
		return nil, err
	}
	answers := bufio.NewReader(e.In)
	for {
		if err := e.run(ctx, argv, path); err != nil {
			return nil, err
		}
		edited, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("the edited text: %w", err)
		}
		if bytes.Equal(edited, text) {
			return nil, ErrUnchanged
		}
		err = check(edited)
		if err == nil {
			return edited, nil
		}
		if f := fault.From(err); f != nil {
			fmt.Fprintln(e.Err, f.Multiline())
		} else {
			fmt.Fprintln(e.Err, err)
		}
		fmt.Fprintln(e.Err, "Press Enter to return to the editor, or Ctrl-C to give up.")
		if _, readErr := answers.ReadString('\n'); readErr != nil || ctx.Err() != nil {
			return nil, err
		}
	}
}

// command is the editor's command line: SOPS_EDITOR, EDITOR, or the first of sops's own choices that is installed.
func (e Editor) command() ([]string, error) {
	for _, name := range []string{"SOPS_EDITOR", "EDITOR"} {
		if words, err := split(e.Env(name)); err != nil {
			return nil, noEditor("$"+name+" has a quote that does not end", err)
		} else if len(words) > 0 {
			return e.tamed(words), nil
		}
	}
	for _, name := range []string{"vim", "nano", "vi"} {
		if path, err := exec.LookPath(name); err == nil {
			return e.tamed([]string{path}), nil
		}
	}
	return nil, noEditor("neither SOPS_EDITOR nor EDITOR is set, and none of vim, nano and vi is installed", nil)
}

func noEditor(why string, err error) error {
	return &fault.Fault{Code: "SLU-SCRATCH-003", Hop: fault.HopUsage, Seen: "no editor can be opened", Why: why, Fix: "export EDITOR=nano", Exit: 201, Err: err}
}

// tamed tells the editors that keep copies elsewhere (swap files, backups, undo files, registers) not to.
func (e Editor) tamed(argv []string) []string {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return argv
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	switch base := filepath.Base(path); {
	case strings.HasPrefix(base, "vim"), strings.HasPrefix(base, "nvim"):
		return append(argv[:1:1], append([]string{"-n", "-i", "NONE", "-c", "set nobackup nowritebackup noundofile"}, argv[1:]...)...)
	case base == "emacs" || strings.HasPrefix(base, "emacs-"):
		return append(argv[:1:1], append([]string{"--eval", "(setq make-backup-files nil auto-save-default nil create-lockfiles nil)"}, argv[1:]...)...)
	}
	return argv
}

func (e Editor) run(ctx context.Context, argv []string, path string) error {
	c := exec.CommandContext(ctx, argv[0], append(argv[1:len(argv):len(argv)], path)...)
	c.Stdin, c.Stdout, c.Stderr = e.In, e.Out, e.Err
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 2 * time.Second
	err := c.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return noEditor(fmt.Sprintf("%s ended with %s", argv[0], exit), nil)
	case err != nil:
		return noEditor(argv[0]+" cannot be started", err)
	}
	return nil
}

// split parts a command line at blanks outside quotes, as sops does with SOPS_EDITOR.
func split(s string) (words []string, err error) {
	var b strings.Builder
	var quote rune
	inside, escaped := false, false
	for _, r := range s {
		switch {
		case escaped:
			b.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inside = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			b.WriteRune(r)
		case r == '"' || r == '\'':
			quote, inside = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if inside {
				words = append(words, b.String())
				b.Reset()
			}
			inside = false
		default:
			b.WriteRune(r)
			inside = true
		}
	}
	if quote != 0 {
		return nil, errors.New("unfinished quote")
	}
	if inside {
		words = append(words, b.String())
	}
	return words, nil
}
