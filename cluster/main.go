// Command sluice-cluster is a real Kubernetes control plane in one binary.
//
// Called through a link named etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl or kwok, or with
// such a name as its first argument, it is that program, unchanged: controller-runtime's envtest and people use it so.
// Called as `sluice-cluster run` it runs all of them, kubectl aside, in one process over one folder: what `sluice up`
// starts.
//
// It refuses to be production: one etcd member, loopback by default, nodes that only pretend (kwok).
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	name := filepath.Base(os.Args[0])
	if _, ok := components[name]; !ok && len(os.Args) > 1 {
		name, os.Args = os.Args[1], os.Args[1:]
	}
	if name == "run" {
		os.Exit(runMain(os.Args[1:]))
	}
	start, ok := components[name]
	if !ok {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	exitWithParent()
	os.Exit(start())
}
