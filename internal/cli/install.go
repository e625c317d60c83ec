package cli

import (
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/onboard"
)

func newInstall(s Streams) *cobra.Command {
	var kube kubeFlags
	var image string
	var export, replace bool
	cmd := &cobra.Command{Use: "install", Short: "Install or upgrade the components, without a repository", Args: none,
		Long: "Install applies what bootstrap would commit, less the sync, and waits until the controller runs. It upgrades what an\nearlier install or bootstrap has put there.\n\n" + exitCodes,
		RunE: func(c *cobra.Command, _ []string) error {
			o := componentsOf(kube.namespace, image)
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
	f.BoolVar(&replace, "replace-flux", false, "replace the source- and kustomize-controller of a cluster that runs Flux")
	f.StringVar(&image, "image", "", "image of the controller (default: the project's own at this version)")
	return cmd
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
