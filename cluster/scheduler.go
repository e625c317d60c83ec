package main

import (
	"context"

	schedulerapp "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// schedulerFlags are kube-scheduler's.
func schedulerFlags(o *runOptions) []string {
	return []string{
		"--kubeconfig=" + kubeconfigOf(o, "scheduler"),
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
	}
}

// runScheduler schedules until ctx ends. The API server must be ready.
func runScheduler(ctx context.Context, o *runOptions) error {
	s := scheduleroptions.NewOptions()
	if err := parseFlags("kube-scheduler", *s.Flags, schedulerFlags(o)); err != nil {
		return err
	}
	config, scheduler, err := schedulerapp.Setup(ctx, s)
	if err != nil {
		return err
	}
	return schedulerapp.Run(ctx, config, scheduler)
}
