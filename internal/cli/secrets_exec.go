package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/secrets/files"
	"github.com/sluice-gitops/sluice/internal/secrets/scratch"
)

func (s Streams) editor(watch []string) scratch.Editor {
	return scratch.Editor{Watch: watch, Env: s.Env, In: s.In, Out: s.Out, Err: s.Err}
}

// executor holds the flags of exec-env and exec-file.
type executor struct {
	secretsFlags
	pristine, same, noFIFO bool
	user, filename         string
}

func newSecretsExecEnv(s Streams) *cobra.Command {
	x := &executor{secretsFlags: secretsFlags{streams: s}}
	cmd := &cobra.Command{Use: "exec-env FILE COMMAND", Short: "Run a command with a file's values in its environment", Args: exactly("FILE", "COMMAND"),
		Long: `Exec-env runs COMMAND with /bin/sh -c; the values at the top of the file are its environment variables. Its exit code is
the command's.`,
		Example: "  sluice secrets exec-env prod.env 'npm start'",
		RunE:    func(c *cobra.Command, args []string) error { return likeSOPS(x.env(c.Context(), args[0], args[1])) }}
	fl := x.common(cmd)
	x.mac(fl)
	fl.BoolVar(&x.pristine, "pristine", false, "give the command nothing else in its environment")
	fl.BoolVar(&x.same, "same-process", false, "become the command instead of waiting for it")
	fl.StringVar(&x.user, "user", "", "run the command as this user")
	return cmd
}

func newSecretsExecFile(s Streams) *cobra.Command {
	x := &executor{secretsFlags: secretsFlags{streams: s}}
	cmd := &cobra.Command{Use: "exec-file FILE COMMAND", Short: "Run a command with the name of a file that holds the plaintext", Args: exactly("FILE", "COMMAND"),
		Long: `Exec-file runs COMMAND with /bin/sh -c, {} in it replaced by the name of a pipe that yields the plaintext once. With
--no-fifo it is a file, which can be read again, on a memory file system: there is no plaintext on a disk either way. It
is removed when the command ends.`,
		Example: "  sluice secrets exec-file config.json 'my-program --config {}'",
		RunE:    func(c *cobra.Command, args []string) error { return likeSOPS(x.file(c.Context(), args[0], args[1])) }}
	fl := x.common(cmd)
	x.out(fl)
	x.mac(fl)
	fl.BoolVar(&x.noFIFO, "no-fifo", false, "a file in memory instead of a pipe")
	fl.StringVar(&x.filename, "filename", "", "the name of the pipe or file (default: tmp-file)")
	fl.StringVar(&x.user, "user", "", "run the command as this user")
	return cmd
}

func (x *executor) env(ctx context.Context, path, command string) error {
	e, err := x.engine()
	if err != nil {
		return err
	}
	file, err := files.Read(path)
	if err != nil {
		return err
	}
	var env []string
	if !x.pristine {
		env = os.Environ()
	}
	err = e.Environment(ctx, path, file.Data, func(key, value string) error {
		if strings.ContainsAny(key, "=\x00") || strings.Contains(value, "\x00") {
			return &fault.Fault{Code: "SLU-SECRET-008", Hop: fault.HopSOPS, File: path, Seen: fmt.Sprintf("%q cannot be an environment variable", key),
				Why: "its name has an equals sign, or it holds a zero byte", Fix: "rename it: sluice secrets edit " + path, Exit: 1}
		}
		env = append(env, key+"="+value)
		return nil
	})
	if err != nil {
		return err
	}
	scratch.NoCore()
	if x.same {
		return become(x.user, command, env)
	}
	return x.start(ctx, command, env)
}

func (x *executor) file(ctx context.Context, path, command string) error {
	name := orElse(x.filename, "tmp-file")
	if !filepath.IsLocal(name) || filepath.Base(name) != name {
		return usage(x.command, errors.New("--filename must be a name without folders"))
	}
	e, err := x.engine()
	if err != nil {
		return err
	}
	file, err := files.Read(path)
	if err != nil {
		return err
	}
	out, err := e.Decrypt(ctx, path, file.Data, nil, false)
	if err != nil {
		return err
	}
	scratch.NoCore()
	watch, err := sweeper()
	if err != nil {
		return err
	}
	folder, err := scratch.New(watch, x.streams.Env)
	if err != nil {
		return err
	}
	defer folder.Close()
	var where string
	if x.noFIFO {
		where, err = folder.Write(name, out.Data)
	} else {
		where, err = folder.Pipe(name, out.Data)
	}
	if err != nil {
		return err
	}
	if x.user != "" {
		if err := folder.Give(x.user); err != nil {
			return err
		}
	}
	return x.start(ctx, strings.ReplaceAll(command, "{}", where), os.Environ())
}

// start runs the command and gives its exit code as ours.
func (x *executor) start(ctx context.Context, command string, env []string) error {
	c := exec.CommandContext(ctx, shell[0], append(shell[1:], command)...)
	c.Env, c.Stdin, c.Stdout, c.Stderr = env, x.streams.In, x.streams.Out, x.streams.Err
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	if err := as(c, x.user); err != nil {
		return err
	}
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &fault.Fault{Code: "SLU-SECRET-010", Hop: fault.HopUsage, Seen: "the command ended with " + exit.String(), Exit: max(exit.ExitCode(), 1)}
	}
	return err
}
