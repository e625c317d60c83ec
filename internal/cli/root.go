// Package cli is the command line: one file per command, results on stdout, progress and failures on stderr, exit
// codes from package fault.
//
// Commands read flags, call the package that does the work, and print. They refuse to do work of their own and never
// end the process; only main does.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// Streams are what a command reads and writes besides its arguments.
type Streams struct {
	Out, Err io.Writer
	Env      func(string) string
	In       io.Reader // nil: empty
	Program  string    // how the user called it, for copyable commands; empty: sluice
}

// System returns the process's own streams.
func System() Streams {
	return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv, Program: os.Args[0]}
}

// Run runs the command line args (without the program's name), prints a failure to s.Err, and returns the exit code.
func Run(ctx context.Context, args []string, s Streams) int {
	root := newRoot(s)
	root.SetArgs(withVerb(args))
	err := root.ExecuteContext(ctx)
	if err == nil {
		return fault.ExitOK
	}
	if ctx.Err() != nil && fault.From(err) == nil {
		fmt.Fprintln(s.Err, style(s).Cross()+"interrupted")
		return fault.ExitInterrupted
	}
	printFailure(s, err)
	return fault.ExitCode(err)
}

// Command is the command tree, for what is generated from it: completions and manual pages. It is not to be run.
func Command() *cobra.Command {
	return newRoot(Streams{Out: io.Discard, Err: io.Discard, Env: func(string) string { return "" }})
}

func newRoot(s Streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "sluice",
		Short:         "GitOps with SOPS secrets and no stored credential",
		Long:          "Sluice turns a Git repository of Kubernetes manifests, SOPS-encrypted secrets among them, into cluster state.\n\n" + exitCodes,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          none,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(
		newUp(s), newDown(s), newEnv(s), newSupervise(s),
		newGet(s), newReconcile(s), newBuild(s), newSecrets(s),
		newController(s), newVersion(s),
		newSuspend(s), newResume(s), newDiff(s), newTree(s), newEvents(s), newWait(s), newExport(s), newStats(s), newTrace(s), newAzure(s),
		newBootstrap(s), newInstall(s), newUninstall(s), newCheck(s), newDoctor(s),
	)
	return root
}

const exitCodes = `Exit codes: 0 yes; 1 no (not ready, not found, differs); 2 usage or internal; 3 cluster; 4 sign-in; 5 Git; 6 key;
7 Azure Resource Manager; 8 timeout; 130 interrupted.`

// usage is a fault about flags or arguments.
func usage(c *cobra.Command, err error) error {
	return &fault.Fault{Code: "SLU-USAGE-001", Hop: fault.HopUsage, Seen: err.Error(), Fix: c.CommandPath() + " --help", Err: err}
}

// exactly demands n arguments, named in a usage fault.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usage(c, fmt.Errorf("%s takes %d argument(s) %v, got %d", c.CommandPath(), len(names), names, len(args)))
		}
		return nil
	}
}

// none demands that there are no arguments.
func none(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		if c.HasSubCommands() {
			return usage(c, fmt.Errorf("unknown command %q for %s", args[0], c.CommandPath()))
		}
		return usage(c, fmt.Errorf("unknown argument %q for %s", args[0], c.CommandPath()))
	}
	return nil
}

func style(s Streams) event.Style { return event.StyleFor(s.Env, isTerminal(s.Err)) }

// printFailure writes err as the CLI's readers know it: a cross, the headline, then hop, why and fix.
func printFailure(s Streams, err error) {
	text := err.Error()
	if f := fault.From(err); f != nil {
		text = f.Multiline()
	}
	fmt.Fprintln(s.Err, style(s).Cross()+text)
}
