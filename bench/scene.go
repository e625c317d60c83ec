package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/bench/lab"
)

const (
	home  = "flux-system" // Namespace of the Flux objects
	quiet = "1h"          // an interval that no measurement reaches
)

// scene is one engine over one API server with the workload's repository.
type scene struct {
	*server
	peer  *peer
	work  *workload
	git   *lab.GitHost
	track *tracker
	level int // counts the edits, so that no two are alike

	artifacts string // host:port of the artifacts of every engine, as a Service keeps its name; empty: each has its own
}

// newScene starts an API server and installs the CRDs of the engine; no object and no engine is there yet.
func newScene(ctx context.Context, o *options, dir string, w *workload, crds ...string) (*scene, error) {
	running, err := lab.StartServer(filepath.Join(dir, "server"), filepath.Join(o.bin, "sluice-cluster"))
	if err != nil {
		return nil, err
	}
	s := &server{running, running.API}
	sc := &scene{server: s, work: w}
	if sc.git, err = lab.StartGitHost(ctx, filepath.Dir(w.bare)); err != nil {
		return sc, err
	}
	if err := s.Install(crds...); err != nil {
		return sc, err
	}
	if err := sc.create(ctx, namespaces, "", map[string]any{"kind": "Namespace", "metadata": map[string]any{"name": home}}); err != nil {
		return sc, err
	}
	err = sc.create(ctx, secrets, home, map[string]any{"kind": "Secret", "metadata": map[string]any{"name": "sops-age"}, "stringData": map[string]any{"id.agekey": w.identity}})
	if err != nil {
		return sc, err
	}
	sc.track, err = track(ctx, s.api.Resource(kustomizations).Namespace(home))
	return sc, err
}

// start starts an engine over the scene; its folder lies in dir.
func (s *scene) start(ctx context.Context, name, bin, dir string, flags ...string) error {
	p, err := lab.StartPeer(ctx, name, lab.Setup{Bin: bin, Dir: dir, Kubeconfig: s.Kubeconfig, Storage: s.artifacts, Flags: flags})
	if err == nil {
		s.peer = &peer{p}
	}
	return err
}

// close ends everything.
func (s *scene) close() {
	if s.peer != nil {
		s.peer.Stop()
	}
	if s.track != nil {
		s.track.stop()
	}
	if s.git != nil {
		s.git.Stop()
	}
	s.server.Stop()
}

func (s *scene) create(ctx context.Context, kind schema.GroupVersionResource, ns string, o map[string]any) error {
	o["apiVersion"] = kind.GroupVersion().String()
	_, err := s.api.Resource(kind).Namespace(ns).Create(ctx, &unstructured.Unstructured{Object: o}, metav1.CreateOptions{})
	return err
}

// populate creates the GitRepository and a Kustomization for each app, as `kubectl apply` of one file would.
func (s *scene) populate(ctx context.Context) error {
	err := s.create(ctx, gitRepositories, home, map[string]any{
		"kind": "GitRepository", "metadata": map[string]any{"name": "apps"},
		"spec": map[string]any{"url": s.git.URL + "/apps.git", "interval": quiet, "ref": map[string]any{"branch": "main"}},
	})
	if err != nil {
		return err
	}
	return s.each(ctx, func(ctx context.Context, name string) error {
		return s.create(ctx, kustomizations, home, map[string]any{
			"kind": "Kustomization", "metadata": map[string]any{"name": name},
			"spec": map[string]any{
				"interval": quiet, "timeout": "5m", "path": "./apps/" + name, "prune": true,
				"sourceRef":  map[string]any{"kind": "GitRepository", "name": "apps"},
				"decryption": map[string]any{"provider": "sops", "secretRef": map[string]any{"name": "sops-age"}},
			},
		})
	})
}

// each does something to every Kustomization, eight at a time.
func (s *scene) each(ctx context.Context, do func(context.Context, string) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range s.work.apps {
		g.Go(func() error { return do(ctx, appName(i)) })
	}
	return g.Wait()
}

func (s *scene) patch(ctx context.Context, kind schema.GroupVersionResource, ns, name string, patch map[string]any) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = s.api.Resource(kind).Namespace(ns).Patch(ctx, name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: "bench"})
	return err
}

// ask asks for a reconcile as `flux reconcile` and notification-controller do.
func (s *scene) ask(ctx context.Context, kind schema.GroupVersionResource, name, token string) error {
	return s.patch(ctx, kind, home, name, map[string]any{"metadata": map[string]any{"annotations": map[string]any{"reconcile.fluxcd.io/requestedAt": token}}})
}

// cost is what a piece of work took.
type cost struct {
	wall, cpu, apiCPU float64 // seconds; of the work, of the engine's processes, of the API server and etcd
	status, other     float64 // requests
	objectWrites      float64
	changed           float64 // seconds until the changed object was in the cluster, where there is one
}

// measure does work and waits until the engine is quiet again: what it does after it has reported belongs to the work.
func (s *scene) measure(ctx context.Context, work func() error) (c cost, err error) {
	before, err := s.requests(ctx)
	if err != nil {
		return c, err
	}
	cpu, err1 := s.peer.cpu()
	api, err2 := s.serverCPU()
	began := time.Now()
	if err := errors.Join(err1, err2, work()); err != nil {
		return c, err
	}
	c.wall = time.Since(began).Seconds()
	if err := s.settle(ctx); err != nil {
		return c, err
	}
	after, err := s.requests(ctx)
	if err != nil {
		return c, err
	}
	cpuEnd, err1 := s.peer.cpu()
	apiEnd, err2 := s.serverCPU()
	c.cpu, c.apiCPU = cpuEnd-cpu, apiEnd-api
	c.status = after.status - before.status
	c.other = after.other - before.other - float64(after.own-before.own)
	c.objectWrites = after.objectWrites - before.objectWrites
	return c, errors.Join(err1, err2)
}

// settle waits until the engine uses less than 3 % of a core for two seconds.
func (s *scene) settle(ctx context.Context) error {
	for range 60 {
		before, err := s.peer.cpu()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Second):
		}
		after, err := s.peer.cpu()
		if err != nil {
			return err
		}
		if after-before <= 0.06 {
			return nil
		}
	}
	return fmt.Errorf("%s was not quiet for two minutes", s.peer.Name)
}

// serverCPU is the CPU time of this process's other children, etcd and kube-apiserver.
func (s *scene) serverCPU() (total float64, err error) {
	pids, err := childrenOf(os.Getpid())
	if err != nil {
		return 0, err
	}
	mine := map[int]bool{}
	for _, pid := range s.peer.PIDs() {
		mine[pid] = true
	}
	for _, pid := range pids {
		if name, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); !mine[pid] && filepath.Base(name) == "sluice-cluster" {
			cpu, err := cpuOf(pid)
			if err != nil {
				return 0, err
			}
			total += cpu
		}
	}
	return total, nil
}
