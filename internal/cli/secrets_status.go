package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/secrets"
	"github.com/sluice-gitops/sluice/internal/secrets/files"
)

func newSecretsStatus(s Streams) *cobra.Command {
	f := &secretsFlags{streams: s}
	var output string
	cmd := &cobra.Command{Use: "status FILE|FOLDER|GLOB...", Aliases: []string{"filestatus"}, Short: "Tell which files are sealed, how and for whom, without any key",
		Long: `Status lists sealed files, and Kubernetes Secrets that are not. Called filestatus, with one file, it prints what sops
filestatus prints: {"encrypted":true}.`,
		Example: "  sluice secrets status .\n  sluice secrets filestatus db.yaml",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return noFile(c, "status takes files, folders or globs")
			}
			if output != "table" && output != "json" {
				return usage(c, fmt.Errorf("output %q: want table or json", output))
			}
			return f.status(c.Context(), args, output, c.CalledAs() == "filestatus")
		}}
	f.common(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func (f *secretsFlags) status(ctx context.Context, args []string, output string, asSOPS bool) error {
	e, err := f.engine()
	if err != nil {
		return err
	}
	entries, err := files.Expand(args)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	all := map[string]secrets.Status{}
	results := files.Run(ctx, entries, 16, nil, func(_ context.Context, at files.Entry) files.Result {
		file, err := files.Read(at.Path)
		if err != nil {
			return files.Result{Err: err}
		}
		st, err := e.Status(at.Path, file.Data)
		mu.Lock()
		defer mu.Unlock()
		all[at.Path] = st
		return files.Result{Err: likeSOPS(err)}
	})
	list := []secrets.Status{}
	var failed []error
	for _, r := range results {
		if r.Err != nil {
			failed = append(failed, r.Err)
		} else if st := all[r.Path]; !r.Found || st.Encrypted || st.Secret {
			list = append(list, st)
		}
	}
	if asSOPS && len(entries) == 1 && len(failed) == 0 {
		return json.NewEncoder(f.streams.Out).Encode(map[string]bool{"encrypted": list[0].Encrypted})
	}
	if output == "json" {
		enc := json.NewEncoder(f.streams.Out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(list); err != nil {
			return err
		}
	} else {
		statusTable(list).print(f.streams.Out, true)
	}
	return several(f.streams, failed, len(results))
}

func statusTable(list []secrets.Status) table {
	t := table{headers: []string{"file", "sealed", "format", "what", "changed", "recipients"}}
	for _, st := range list {
		sealed, changed := "no", ""
		if st.Encrypted {
			sealed = "yes"
		} else if st.Secret {
			sealed = "NO, a Secret"
		}
		if st.Changed != nil {
			changed = st.Changed.UTC().Format(time.DateOnly)
		}
		t.rows = append(t.rows, []string{st.File, sealed, string(st.Format), st.Rule, changed, st.Recipients})
	}
	return t
}
