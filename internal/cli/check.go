package cli

import (
	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/onboard"
)

func newCheck(s Streams) *cobra.Command {
	var kube kubeFlags
	var pre bool
	cmd := &cobra.Command{Use: "check", Short: "Check that the cluster can run Sluice, and that it does", Args: none,
		Long: "Check looks at the cluster's version, the controllers, the definitions and the sync. What stands between a file and its\nplaintext is what sluice doctor looks at.\n\n" + exitCodes,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := kube.deadline(c)
			defer cancel()
			cfg, err := kube.config()
			if err != nil {
				return err
			}
			return explainKube(onboard.Check(ctx, cfg, kube.namespace, pre, teller(s)))
		}}
	kube.add(cmd, s.Env)
	cmd.Flags().BoolVar(&pre, "pre", false, "check only what an install needs")
	return cmd
}
