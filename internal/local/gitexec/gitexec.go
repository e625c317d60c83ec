// Package gitexec runs the machine's git binary for the local platform: its Git server and the care of the user's
// working copy. The controller needs no git and must not import it.
//
// A Command starts from an empty environment: neither the user's configuration nor a variable like GIT_DIR reaches it,
// it asks no questions, runs no hook, signs nothing and leaves no maintenance running behind it. It refuses to guess
// when there is no git: that is a fault with the command that installs one.
package gitexec

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// settings overrule every configuration file. safe.directory: the repositories are the platform's own, even where a
// mount shows them under another owner.
var settings = []string{
	"safe.directory=*",
	"core.hooksPath=/dev/null",
	"core.fsmonitor=false",
	"commit.gpgSign=false",
	"tag.gpgSign=false",
	"push.gpgSign=false",
	"gc.auto=0",
	"maintenance.auto=false",
	"receive.autogc=false",
	"advice.detachedHead=false",
	"protocol.ext.allow=never",
}

// Find returns the path of git, or a fault that says how to get it.
func Find() (string, error) {
	path, err := exec.LookPath("git")
	if err != nil {
		return "", &fault.Fault{Code: "SLU-PLATFORM-020", Hop: fault.HopPlatform, Seen: "no git on the PATH",
			Why: "the local Git server and the working copy need it", Fix: "apt-get install git", Err: err}
	}
	return path, nil
}

// Command prepares a git command that runs in dir. When ctx ends, git and what it started are killed.
func Command(ctx context.Context, dir string, args ...string) (*exec.Cmd, error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	var full []string
	for _, s := range settings {
		full = append(full, "-c", s)
	}
	cmd := exec.CommandContext(ctx, path, append(full, args...)...)
	cmd.Dir = dir
	cmd.Env = Environment()
	own(cmd)
	return cmd, nil
}

// AsUser prepares a git command that only reads, with the user's own environment and configuration: what is ignored,
// how lines end and which directories are trusted is the user's to say. It takes no locks and asks no questions.
func AsUser(ctx context.Context, dir string, args ...string) (*exec.Cmd, error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"}, args...)...)
	cmd.Dir = dir
	for _, v := range os.Environ() {
		// GIT_DIR and its like would point away from dir; they are set when sluice is run from a hook or an alias.
		if !strings.HasPrefix(v, "GIT_") && !strings.HasPrefix(v, "LC_") && !strings.HasPrefix(v, "LANG") || strings.HasPrefix(v, "GIT_CONFIG_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_NO_LAZY_FETCH=1")
	own(cmd)
	return cmd, nil
}

// Environment is the clean environment of Command.
func Environment() []string {
	env := []string{
		"LC_ALL=C",
		"HOME=/nonexistent", "XDG_CONFIG_HOME=/nonexistent", // git before 2.32 knows no GIT_CONFIG_GLOBAL
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/false", "SSH_ASKPASS=/bin/false",
	}
	for _, name := range []string{"PATH", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// Error is a git command that failed.
type Error struct {
	Args   []string // without the settings
	Stderr string
	Err    error
}

func (e *Error) Error() string {
	said := strings.TrimSpace(e.Stderr)
	if said == "" {
		said = e.Err.Error()
	}
	return fmt.Sprintf("git %s: %s", e.Args[0], said)
}

// Unwrap returns the exit status or what kept git from running.
func (e *Error) Unwrap() error { return e.Err }

// Output runs a command to its end and returns its standard output; a failure is an *Error, or the context's error.
func Output(ctx context.Context, cmd *exec.Cmd, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		return out, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, &Error{Args: args, Stderr: stderr.String(), Err: err}
}

// Run prepares a Command and returns its Output.
func Run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd, err := Command(ctx, dir, args...)
	if err != nil {
		return nil, err
	}
	return Output(ctx, cmd, args...)
}
