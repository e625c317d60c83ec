package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserverapp "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcmapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	schedulerapp "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kwok "sigs.k8s.io/kwok/pkg/kwok/cmd"
)

const usage = `usage: sluice-cluster run --dir DIR --api-port N --etcd-port N --etcd-peer-port N --issuer URL [flags]
       sluice-cluster etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubectl|kwok [flags]

run starts a whole control plane in one process ("run --help" lists its flags).
The other names are the upstream programs; a link of that name to this binary does the same.
`

// components are the upstream programs by name. Each reads os.Args, with the program's own name first, and returns the
// exit code (etcd's exits by itself).
var components = map[string]func() int{
	"etcd": func() int {
		etcdmain.Main(os.Args)
		return 0
	},
	"kube-apiserver":          func() int { return cli.Run(apiserverapp.NewAPIServerCommand()) },
	"kube-controller-manager": func() int { return cli.Run(kcmapp.NewControllerManagerCommand()) },
	"kube-scheduler":          func() int { return cli.Run(schedulerapp.NewSchedulerCommand()) },
	"kubectl":                 kubectlMain,
	"kwok":                    kwokMain,
}

func kubectlMain() int {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		return 1 // kubectl printed it
	}
	return 0
}

func kwokMain() int {
	// kwok adds pflag.CommandLine to its flags, and component-base has put a "version" there already.
	pflag.CommandLine = pflag.NewFlagSet("kwok", pflag.ExitOnError)
	if err := kwok.NewCommand(context.Background()).Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "kwok:", err)
		return 1
	}
	return 0
}
