package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/secrets"
	"github.com/sluice-gitops/sluice/internal/secrets/files"
)

func newSecretsUpdateKeys(s Streams) *cobra.Command {
	f := &secretsFlags{streams: s, inPlace: true}
	var yes bool
	cmd := &cobra.Command{Use: "updatekeys FILE|FOLDER|GLOB...", Short: "Make files' recipients those of .sops.yaml",
		Long: `Updatekeys shows how the recipients of files differ from their rules, asks, and wraps the data keys for the recipients
of the rules. Values stay as they are, and so does the data key: who was taken away and kept it can still read the file
and what is written into it, until sluice secrets rotate.`,
		Example: "  sluice secrets updatekeys -y apps/",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return noFile(c, "updatekeys takes files, folders or globs")
			}
			return f.updateKeys(c.Context(), args, yes)
		}}
	fl := f.common(cmd)
	fl.BoolVarP(&yes, "yes", "y", false, "do not ask")
	fl.IntVar(&f.shamir, "shamir-secret-sharing-threshold", 0, "how many key groups are needed to open a file")
	return cmd
}

func (f *secretsFlags) updateKeys(ctx context.Context, args []string, yes bool) error {
	e, err := f.engine()
	if err != nil {
		return err
	}
	entries, err := files.Expand(args)
	if err != nil {
		return err
	}
	var (
		mu    sync.Mutex
		plans = map[string]*secrets.KeyChange{}
		read  = map[string]*files.File{}
	)
	looked := files.Run(ctx, entries, 8, nil, func(_ context.Context, at files.Entry) files.Result {
		file, err := files.Read(at.Path)
		if err != nil {
			return files.Result{Err: err}
		}
		plan, err := e.PlanKeys(at.Path, file.Data, at.Found)
		if err != nil || plan == nil {
			return files.Result{Err: likeSOPS(err)}
		}
		if plan.None() {
			return files.Result{Did: "up to date"}
		}
		mu.Lock()
		defer mu.Unlock()
		plans[at.Path], read[at.Path] = plan, file
		return files.Result{}
	})
	var todo []files.Entry
	for _, r := range looked {
		if plan := plans[r.Path]; plan != nil {
			todo = append(todo, r.Entry)
			f.show(plan)
		}
	}
	if len(todo) > 0 && !yes {
		if err := f.agreed(len(todo)); err != nil {
			return err
		}
	}
	progress, done := f.progress(len(todo))
	did := files.Run(ctx, todo, 16, progress, func(ctx context.Context, at files.Entry) files.Result {
		out, err := e.UpdateKeys(ctx, plans[at.Path])
		if err == nil {
			err = read[at.Path].Replace(out.Data)
		}
		return files.Result{Did: out.Did, Tell: out.Tell, Err: likeSOPS(err)}
	})
	done()
	for i, r := range looked {
		for _, d := range did {
			if d.Path == r.Path {
				looked[i] = d
			}
		}
	}
	if len(looked) == 1 && looked[0].Did == "up to date" {
		fmt.Fprintln(f.streams.Err, looked[0].Path+": already up to date")
	}
	return f.report(looked)
}

// show prints a plan: what it removes, what it adds.
func (f *secretsFlags) show(p *secrets.KeyChange) {
	fmt.Fprintln(f.streams.Out, p.Path)
	for _, r := range p.Removed {
		fmt.Fprintln(f.streams.Out, "  - "+r)
	}
	for _, a := range p.Added {
		fmt.Fprintln(f.streams.Out, "  + "+a)
	}
	if p.Threshold != "" {
		fmt.Fprintln(f.streams.Out, "  opens with "+p.Threshold)
	}
}

// agreed asks, where somebody can answer.
func (f *secretsFlags) agreed(n int) error {
	if !isTerminal(f.streams.In) || !isTerminal(f.streams.Err) {
		return &fault.Fault{Code: "SLU-USAGE-034", Hop: fault.HopUsage, Seen: fmt.Sprintf("%d files would get other recipients, and nobody can be asked", n),
			Why: "stdin and stderr are not terminals", Fix: "repeat the command with --yes"}
	}
	fmt.Fprintf(f.streams.Err, "Change %d files? (y/N) ", n)
	answer, _ := bufio.NewReader(f.streams.In).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(answer)); a == "y" || a == "yes" {
		return nil
	}
	return &fault.Fault{Code: "SLU-USAGE-035", Hop: fault.HopUsage, Seen: "nothing was changed", Why: "the answer was no", Exit: fault.ExitNo}
}
