package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/local"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

// upper holds the flags of up.
type upper struct {
	streams              Streams
	repo, path, stateDir string
	progress             string
	timeout              time.Duration
	foreground, newPorts bool
	quiet                bool
}

func newUp(s Streams) *cobra.Command {
	u := &upper{streams: s}
	cmd := &cobra.Command{Use: "up", Short: "Start the whole system on this machine and wait until it is in sync", Args: none,
		Long: `Up starts a Kubernetes control plane, an Azure emulator, a Git server and the controller on this machine, in the
background, and waits until every Kustomization is Ready. Without --repo it fills the repository with a sample whose
secret is encrypted for the emulated Key Vault. Run again, it finds what runs already.

` + exitCodes,
		RunE: func(c *cobra.Command, _ []string) error { return u.run(c) }}
	f := cmd.Flags()
	f.StringVar(&u.repo, "repo", "", "your own repository: its committed HEAD is what the cluster follows (default: the sample)")
	f.StringVar(&u.path, "path", "", "the cluster's folder inside the repository (default "+local.DefaultPath+")")
	f.DurationVar(&u.timeout, "timeout", 5*time.Minute, "how long to wait in all")
	f.BoolVar(&u.foreground, "foreground", false, "keep the platform in this process until Ctrl-C")
	f.BoolVar(&u.newPorts, "new-ports", false, "choose other ports than last time")
	f.StringVar(&u.progress, "progress", "auto", "auto, plain, json or none")
	f.BoolVarP(&u.quiet, "quiet", "q", false, "show only warnings and failures on stderr")
	stateDirFlag(cmd, &u.stateDir)
	return cmd
}

func stateDirFlag(cmd *cobra.Command, dst *string) {
	cmd.Flags().StringVar(dst, "state-dir", "", "folder of the platform (default $SLUICE_STATE_DIR, or ~/.local/state/sluice)")
}

func (u *upper) run(c *cobra.Command) error {
	dir, err := state.DefaultDir(u.stateDir, u.streams.Env)
	if err != nil {
		return err
	}
	renderer, err := event.NewRenderer(u.progress, u.streams.Err, u.quiet, u.streams.Env)
	if err != nil {
		return usage(c, err)
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	version, _ := BuildVersion()
	timings := &stopwatch{began: time.Now()}
	o := local.Options{
		Dir: dir, Repo: u.repo, Path: u.path, Timeout: u.timeout, NewPorts: u.newPorts,
		Executable: exe, Version: version, Sink: event.Tee(timings, renderer),
	}
	start := local.Up
	if u.foreground {
		start = local.Foreground
	}
	running, err := start(c.Context(), o)
	renderer.Close()
	if err != nil {
		return err
	}
	if err := u.summarize(c.Context(), running, timings); err != nil || running.Wait == nil {
		return err
	}
	fmt.Fprintln(u.streams.Err, "The platform runs in this process; Ctrl-C stops it.")
	return running.Wait(c.Context())
}

// newSupervise is the background half of up, started by it with the platform's lock.
func newSupervise(s Streams) *cobra.Command {
	var stateDir string
	cmd := &cobra.Command{Use: local.Command, Hidden: true, Short: "Hold a platform together (started by sluice up)", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := state.DefaultDir(stateDir, s.Env)
			if err != nil {
				return err
			}
			lock, err := state.Inherit(local.LockFD, dir)
			if err != nil {
				return usage(c, err)
			}
			defer lock.Release()
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			version, _ := BuildVersion()
			err = local.Supervise(c.Context(), local.Options{Dir: dir, Executable: exe, Version: version, Sink: event.Discard}, nil)
			if err != nil && c.Context().Err() == nil {
				return err
			}
			return nil
		}}
	stateDirFlag(cmd, &stateDir)
	return cmd
}

// stopwatch notes how long each step took.
type stopwatch struct {
	began time.Time
	steps []event.Event
}

// Emit keeps e if it ended a step.
func (w *stopwatch) Emit(e event.Event) {
	if e.Phase == event.Done {
		w.steps = append(w.steps, e)
	}
}

// summarize prints what a newcomer wants to see: how long it took, what is in the cluster, where things are, what next.
func (u *upper) summarize(ctx context.Context, r *local.Running, w *stopwatch) error {
	out := u.streams.Out
	if r.Found {
		fmt.Fprintln(out, "The platform was up already.")
	} else {
		w.print(out, time.Since(w.began))
	}
	fmt.Fprintln(out)
	kube := kubeFlags{kubeconfig: r.Dir.Kubeconfig()}
	c, err := kube.client()
	if err != nil {
		return err
	}
	g := &getter{streams: u.streams, all: true, output: "table"}
	if err := g.show(ctx, c, "", gitRepositories, kustomizations); err != nil {
		return err
	}
	u.next(ctx, r)
	return nil
}

// invocation is how the user calls this program, with the state folder where it was named.
func (u *upper) invocation(command string) string {
	program := orElse(u.streams.Program, "sluice")
	if u.stateDir != "" {
		abs, err := filepath.Abs(u.stateDir)
		if err == nil {
			return fmt.Sprintf("%s %s --state-dir %s", program, command, abs)
		}
	}
	return program + " " + command
}
