package main

import (
	"context"
	"path/filepath"
	"strings"

	cloudnames "k8s.io/cloud-provider/names"
	kcmapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kcmoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
)

// droppedControllers need a cloud or a kubelet, or serve features that simulated nodes can't have. Controllers that take
// finalizers off (volume protection and the like) stay, or namespaces would never finish terminating.
var droppedControllers = []string{
	names.NodeIpamController,
	names.NodeLifecycleController, // its heartbeats are writes; simulated nodes don't die
	names.TaintEvictionController,
	names.DeviceTaintEvictionController,
	names.TTLController,
	names.PersistentVolumeAttachDetachController,
	names.PersistentVolumeExpanderController,
	names.EphemeralVolumeController,
	names.ResourceClaimController,
	cloudnames.ServiceLBController,
	cloudnames.NodeRouteController,
	cloudnames.CloudNodeLifecycleController,
}

// controllerManagerFlags are kube-controller-manager's.
func controllerManagerFlags(o *runOptions, p *pki) []string {
	return []string{
		"--kubeconfig=" + kubeconfigOf(o, "controller-manager"),
		"--use-service-account-credentials=true", // each controller under its own RBAC role, as on a real cluster
		"--service-account-private-key-file=" + p.serviceAccountKey(),
		"--root-ca-file=" + p.cert(clusterCA),
		"--cluster-signing-cert-file=" + p.cert(clusterCA),
		"--cluster-signing-key-file=" + p.key(clusterCA),
		"--controllers=*,-" + strings.Join(droppedControllers, ",-"),
		"--leader-elect=false", // there is one, and losing a lease would end the whole process
		"--secure-port=0",
		"--profiling=false",
		"--kube-api-qps=200",
		"--kube-api-burst=400",
		"--controller-shutdown-timeout=1s",
		"--concurrent-gc-syncs=5",
		"--concurrent-endpoint-syncs=2",
		"--concurrent-service-endpoint-syncs=2",
	}
}

// runControllers runs the controllers until ctx ends. The API server must be ready.
func runControllers(ctx context.Context, o *runOptions, p *pki) error {
	s, err := kcmoptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	all, disabled, aliases := kcmapp.KnownControllers(), kcmapp.ControllersDisabledByDefault(), kcmapp.ControllerAliases()
	if err := parseFlags("kube-controller-manager", s.Flags(all, disabled, aliases), controllerManagerFlags(o, p)); err != nil {
		return err
	}
	c, err := s.Config(ctx, all, disabled, aliases)
	if err != nil {
		return err
	}
	return kcmapp.Run(ctx, c.Complete())
}

// kubeconfigOf is the kubeconfig of a component, by the name of its client certificate.
func kubeconfigOf(o *runOptions, client string) string {
	return filepath.Join(o.Dir, "pki", client+".kubeconfig")
}
