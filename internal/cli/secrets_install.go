package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/secrets/check"
)

func newSecretsInstall(s Streams) *cobra.Command {
	var remove bool
	cmd := &cobra.Command{Use: "install", Short: "Set up Git: check before each commit, and readable diffs of sealed files", Args: none,
		Long: `Install writes a block into the pre-commit hook, wherever core.hooksPath says hooks lie, and keeps what else the hook does.
It makes git diff show sealed files decrypted to whoever has the key, by a block in .gitattributes, which can be committed,
and by a setting in the repository's own configuration, which cannot. Done twice, it changes nothing.`,
		RunE: func(c *cobra.Command, _ []string) error { return s.install(c.Context(), remove) }}
	cmd.Flags().BoolVar(&remove, "uninstall", false, "take out what install has put in")
	return cmd
}

func (s Streams) install(ctx context.Context, remove bool) error {
	h, err := check.NewHooks(ctx, ".")
	if err != nil {
		return err
	}
	do := h.Install
	if remove {
		do = h.Uninstall
	}
	done, err := do()
	for _, line := range done {
		fmt.Fprintln(s.Out, line)
	}
	return err
}
