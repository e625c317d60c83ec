package cli

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/onboard"
)

func newUninstall(s Streams) *cobra.Command {
	var kube kubeFlags
	var keep, silent, dry bool
	cmd := &cobra.Command{Use: "uninstall", Short: "Take Sluice out of a cluster and leave what it applied", Args: none,
		Long: `Uninstall deletes the controller, then the finalizers of its objects, then roles, definitions and the namespace. Nothing
is pruned: what the controller applied stays, except what lives in the namespace that is deleted. Beside controllers of
Flux, --keep-namespace takes the controller and its own rights alone; definitions and objects stay for who follows.

` + exitCodes,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := kube.deadline(c)
			defer cancel()
			kc, err := onboardClient(&kube)
			if err != nil {
				return err
			}
			if !silent && !dry {
				if err := sure(s, kube.namespace, keep); err != nil {
					return err
				}
			}
			return explainKube(onboard.Uninstall(ctx, onboard.Removal{Client: kc, Namespace: kube.namespace, KeepNamespace: keep, DryRun: dry, Say: teller(s)}))
		}}
	kube.add(cmd, s.Env)
	f := cmd.Flags()
	f.BoolVar(&keep, "keep-namespace", false, "leave the namespace, and what else lives in it")
	f.BoolVarP(&silent, "silent", "s", false, "don't ask")
	f.BoolVar(&dry, "dry-run", false, "say what would be deleted, and delete nothing")
	return cmd
}

// sure asks before anything goes.
func sure(s Streams, namespace string, keep bool) error {
	if !isTerminal(s.In) || !isTerminal(s.Err) {
		return &fault.Fault{Code: "SLU-USAGE-066", Hop: fault.HopUsage, Seen: "nobody can be asked whether to uninstall", Fix: "repeat the command with --silent; --dry-run shows what would go"}
	}
	what := "Sluice and namespace " + namespace + " with everything in it"
	if keep {
		what = "Sluice, but not namespace " + namespace
	}
	fmt.Fprintf(s.Err, "Delete %s? [y/N] ", what)
	line, _ := bufio.NewReader(s.In).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(line)); a == "y" || a == "yes" {
		return nil
	}
	return &fault.Fault{Code: "SLU-USAGE-067", Hop: fault.HopUsage, Seen: "nothing was deleted", Exit: fault.ExitNo}
}
