package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/onboard"
)

func newInstall(s Streams) *cobra.Command {
	var kube kubeFlags
	var components componentFlags
	var export, replace bool
	cmd := &cobra.Command{Use: "install", Short: "Install or upgrade the components, without a repository", Args: none,
		Long: "Install applies what bootstrap would commit, less the sync, and waits until the controller runs. It upgrades what an\nearlier install or bootstrap has put there.\n\n" + exitCodes,
		RunE: func(c *cobra.Command, _ []string) error {
			o, others, warnings, err := components.options(c, kube.namespace)
			o.FluxSources = slices.Contains(others, "source-controller")
			if others = slices.DeleteFunc(others, func(name string) bool { return name == "source-controller" }); err == nil && len(others) > 0 {
				err = notBrought(others)
			}
			if err != nil {
				return err
			}
			for _, w := range warnings {
				say(s, "⚠", "%s", w)
			}
			if export {
				text, err := bootstrap.Components(o)
				if err != nil {
					return usage(c, err)
				}
				_, err = s.Out.Write(text)
				return err
			}
			ctx, cancel := kube.deadline(c)
			defer cancel()
			kc, err := onboardClient(&kube)
			if err != nil {
				return err
			}
			return explainKube(onboard.Install(ctx, kc, o, replace, true, teller(s)))
		}}
	kube.add(cmd, s.Env)
	f := cmd.Flags()
	f.BoolVar(&export, "export", false, "print the manifests instead of applying them")
	f.BoolVar(&replace, "replace-flux", false, "replace Flux's kustomize-controller, and its source-controller where nothing but Git repositories needs it")
	components.add(f)
	return cmd
}

// notBrought refuses controllers that install could only leave out. Flux's source-controller it works beside.
func notBrought(others []string) error {
	return &fault.Fault{Code: "SLU-USAGE-065", Hop: fault.HopUsage, Object: strings.Join(others, ", "), Seen: "Sluice does not bring it",
		Fix: "flux install --components=" + strings.Join(others, ",") + ", and this command without it"}
}

func onboardClient(kube *kubeFlags) (client.Client, error) {
	cfg, err := kube.config()
	if err != nil {
		return nil, err
	}
	kc, err := client.New(cfg, client.Options{Scheme: onboard.Scheme()})
	return kc, explainKube(err)
}

func teller(s Streams) onboard.Say {
	return func(glyph, format string, args ...any) { say(s, glyph, format, args...) }
}
