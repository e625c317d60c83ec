package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// startTimeout bounds the way from start to `ready`.
const startTimeout = 2 * time.Minute

// stopGrace is how long each layer may take to end. None has state that waiting longer would save: what etcd has
// acknowledged is on disk.
const stopGrace = 2 * time.Second

// runMain is `sluice-cluster run`: exit code 0 after a requested stop, 2 for a wrong command line, 1 for the rest, with
// one line on stderr that says why.
func runMain(args []string) int {
	o, err := parseRunOptions(args)
	if errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sluice-cluster:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if o.ExitWithParent {
		ctx = untilEOF(ctx, os.Stdin)
	}
	logLevel(o.Verbosity)
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sluice-cluster:", err)
		return 1
	}
	return 0
}

// run starts everything, prints `ready` on out, and stays until ctx ends or a part fails.
func run(ctx context.Context, o *runOptions, out io.Writer) error {
	began := time.Now()
	ready := tuneMemory()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	unlock, err := lockDir(o.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := o.checkPorts(); err != nil {
		return err
	}
	p, err := ensurePKI(filepath.Join(o.Dir, "pki"), net.ParseIP(o.Bind), net.ParseIP(serviceIP), began)
	if err != nil {
		return err
	}
	if err := writeKubeconfigs(o, p); err != nil {
		return err
	}
	// Stopped in reverse: those above write into those below until they end.
	failed := make(chan error, 1)
	store, server, clients := newGroup(failed), newGroup(failed), newGroup(failed)
	defer func() {
		for _, g := range []*group{clients, server, store} {
			g.stop(stopGrace)
		}
	}()

	etcd, err := startEtcd(ctx, o, p)
	if err != nil {
		return unlessStopped(ctx, err)
	}
	store.start("etcd", etcd.run)
	progress(began, "etcd serves")

	server.start("kube-apiserver", func(ctx context.Context) error { return runAPIServer(ctx, o, p) })
	admin, err := adminClient(o)
	if err != nil {
		return err
	}
	if err := waitReady(ctx, admin, failed); err != nil {
		return unlessStopped(ctx, err)
	}
	progress(began, "kube-apiserver ready")

	if err := errors.Join(ensureKwokRole(ctx, admin), ensureNodes(ctx, admin, o.Nodes)); err != nil {
		return unlessStopped(ctx, err)
	}
	clients.start("kube-controller-manager", func(ctx context.Context) error { return runControllers(ctx, o, p) })
	clients.start("kube-scheduler", func(ctx context.Context) error { return runScheduler(ctx, o) })
	clients.start("kwok", func(ctx context.Context) error { return runNodes(ctx, o) })
	fmt.Fprintln(out, "ready")
	ready()
	progress(began, "ready")

	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// unlessStopped is err, or nil if the cause is that a stop was asked for.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// progress logs how long after the start something was reached.
func progress(began time.Time, what string) {
	fmt.Fprintf(os.Stderr, "sluice-cluster: %s after %.1f s\n", what, time.Since(began).Seconds())
}

func writeKubeconfigs(o *runOptions, p *pki) error {
	errs := []error{writeKubeconfig(adminKubeconfig(o.Dir), o.apiURL(), p, "admin")}
	for _, client := range []string{"controller-manager", "scheduler", "kwok"} {
		errs = append(errs, writeKubeconfig(kubeconfigOf(o, client), o.apiURL(), p, client))
	}
	return errors.Join(errs...)
}

func adminClient(o *runOptions) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", adminKubeconfig(o.Dir))
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // waitReady asks often
	return kubernetes.NewForConfig(config)
}

// waitReady asks /readyz until it says ok.
func waitReady(ctx context.Context, c kubernetes.Interface, failed <-chan error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("the API server did not become ready in time"))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := c.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-failed:
			return err
		case <-tick.C:
		}
	}
}
