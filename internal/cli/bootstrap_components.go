package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// componentFlags are the flags of `flux install` about what runs in the cluster; `flux bootstrap` has them too.
type componentFlags struct {
	image, registry, pullSecret, version string
	logLevel, clusterDomain              string
	watchAll, networkPolicy, force       bool
	names, extra, tolerations            []string
}

func (k *componentFlags) add(f *pflag.FlagSet) {
	f.StringVar(&k.image, "image", "", "image of the controller (default: the project's own at this version)")
	f.StringVar(&k.registry, "registry", "", "registry and folder of the image named sluice (default: the project's own)")
	f.StringVar(&k.pullSecret, "image-pull-secret", "", "Secret of the namespace that the image is pulled with")
	f.StringVar(&k.logLevel, "log-level", "info", "of the controller: trace, debug, info or error")
	f.StringVar(&k.clusterDomain, "cluster-domain", "cluster.local", "domain of the cluster's DNS")
	f.BoolVar(&k.watchAll, "watch-all-namespaces", true, "reconcile the objects of every namespace, not only of the controller's own")
	f.BoolVar(&k.networkPolicy, "network-policy", true, "let only the controller's namespace reach it")
	f.StringSliceVar(&k.tolerations, "toleration-keys", nil, "taints of nodes that the controller may run on")
	f.StringSliceVar(&k.names, "components", nil, "the controllers that are to run: source- and kustomize-controller are Sluice; others the repository must hold")
	f.StringSliceVar(&k.extra, "components-extra", nil, "further controllers of Flux that the repository must hold; source-controller is then the one that serves the sources")
	f.StringVarP(&k.version, "version", "v", "", "the version to install: there is none but this program's own")
	f.BoolVar(&k.force, "force", false, "of Flux, without effect: --replace-flux takes a cluster over")
	for name := range refusedInstallFlags {
		f.String(name, "", "not there")
		_ = f.MarkHidden(name)
	}
	_ = f.MarkHidden("force")
}

// refusedInstallFlags are Flux's that Sluice has not: why, and what to do instead.
var refusedInstallFlags = map[string][2]string{
	"registry-creds": {"a password in an argument is seen by everyone on the machine, and stays in the shell's history",
		"make the Secret yourself, then name it with --image-pull-secret: kubectl create secret docker-registry NAME -n NAMESPACE --docker-server=HOST --docker-username=USER --docker-password=…"},
	"manifests": {"the components are part of the program", "change them by patches in the flux-system folder's kustomization.yaml"},
}

// fluxControllers are those that may stand beside Sluice; source-controller, when it is to serve the sources.
var fluxControllers = []string{"source-controller", "helm-controller", "notification-controller", "image-reflector-controller", "image-automation-controller", "source-watcher"}

// options are what the flags say, others the controllers that somebody else has to bring, and warnings what has no
// effect.
func (k *componentFlags) options(c *cobra.Command, namespace string) (o bootstrap.Options, others, warnings []string, err error) {
	for name, why := range refusedInstallFlags {
		if f := c.Flags().Lookup(name); f != nil && f.Changed {
			return o, nil, nil, &fault.Fault{Code: "SLU-USAGE-069", Hop: fault.HopUsage, Seen: c.CommandPath() + " has no --" + name, Why: why[0], Fix: why[1]}
		}
	}
	if k.image != "" && k.registry != "" {
		return o, nil, nil, usage(c, errors.New("give --image, or --registry"))
	}
	if others, err = k.others(c); err != nil {
		return o, nil, nil, err
	}
	o = bootstrap.Options{Namespace: namespace, Registry: k.registry, Image: k.image, PullSecret: k.pullSecret, LogLevel: k.logLevel,
		ClusterDomain: k.clusterDomain, OwnNamespaceOnly: !k.watchAll, NoNetworkPolicy: !k.networkPolicy, TolerationKeys: k.tolerations}
	if v, _ := BuildVersion(); v != "dev" { // a development build installs the newest release's image
		o.Version = v
	}
	if own := orElse(o.Version, bootstrap.Release); k.version != "" && strings.TrimPrefix(k.version, "v") != strings.TrimPrefix(own, "v") {
		return o, nil, nil, &fault.Fault{Code: "SLU-USAGE-069", Hop: fault.HopUsage, Seen: "this program installs " + own + " and no other version", Why: "the components are part of it",
			Fix: "run the sluice of that version, or leave --version out"}
	}
	if _, err := bootstrap.Components(o); err != nil {
		return o, nil, nil, usage(c, err)
	}
	if k.force {
		warnings = append(warnings, "--force has no effect: a cluster that runs Flux is taken over with --replace-flux")
	}
	return o, others, warnings, nil
}

// others are the controllers that the flags name beside the two that Sluice is.
func (k *componentFlags) others(c *cobra.Command) (others []string, err error) {
	for _, own := range []string{"source-controller", "kustomize-controller"} {
		if len(k.names) > 0 && !slices.Contains(k.names, own) {
			return nil, usage(c, fmt.Errorf("--components without %s: that is Sluice itself", own))
		}
	}
	for i, name := range append(slices.Clone(k.names), k.extra...) {
		switch {
		case name == "kustomize-controller", slices.Contains(others, name):
		case name == "source-controller" && i < len(k.names): // of Flux it is when it is an extra one
		case !slices.Contains(fluxControllers, name):
			return nil, usage(c, fmt.Errorf("%s is no controller of Flux: %s", name, strings.Join(fluxControllers, ", ")))
		default:
			others = append(others, name)
		}
	}
	return others, nil
}
