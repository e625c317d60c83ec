package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/local"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

func newDown(s Streams) *cobra.Command {
	var stateDir string
	var purge bool
	cmd := &cobra.Command{Use: "down", Short: "Stop what up started; its data stays", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := state.DefaultDir(stateDir, s.Env)
			if err != nil {
				return err
			}
			renderer, err := event.NewRenderer("auto", s.Err, false, s.Env)
			if err != nil {
				return err
			}
			found, err := local.Down(c.Context(), dir, purge, renderer)
			renderer.Close()
			if err != nil {
				return err
			}
			if !found {
				fmt.Fprintln(s.Err, "nothing is running")
			}
			if purge {
				fmt.Fprintln(s.Err, "removed", dir)
			}
			return nil
		}}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the platform's data too: cluster, keys, repository, working copy")
	stateDirFlag(cmd, &stateDir)
	return cmd
}
