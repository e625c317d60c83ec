package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/local"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

func newEnv(s Streams) *cobra.Command {
	var stateDir string
	cmd := &cobra.Command{Use: "env", Short: "Print the shell commands that point kubectl, sops and az at the platform", Args: none,
		Long:    "Env prints export lines for a POSIX shell. They stay right over down and up, and contain the emulator's developer\nsecret, which is worth nothing outside of it.",
		Example: `  eval "$(sluice env)"`,
		RunE: func(*cobra.Command, []string) error {
			dir, err := state.DefaultDir(stateDir, s.Env)
			if err != nil {
				return err
			}
			vars, err := local.Environment(dir)
			if err != nil {
				return err
			}
			for _, v := range vars {
				fmt.Fprintln(s.Out, v.Export())
			}
			return nil
		}}
	stateDirFlag(cmd, &stateDir)
	return cmd
}
