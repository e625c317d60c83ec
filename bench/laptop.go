package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
)

// The works of the local platform.
const (
	laptopFirst  = "sluice up, empty state folder"
	laptopAgain  = "sluice up, after sluice down"
	laptopPush   = "git push of a changed ConfigMap"
	laptopMemory = "all processes of the local platform"
)

// pushes is how many pushes the latency is the median of.
const pushes = 10

// laptops measures the local platform as its user sees it. Its state lies on the disk, as a user's does.
func (o *options) laptops(ctx context.Context, r *results) (err error) {
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	state := filepath.Join(dir, "state")
	sluice := func(ctx context.Context, args ...string) error {
		cmd := exec.CommandContext(ctx, filepath.Join(o.bin, "sluice"), append(args, "--state-dir="+state)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("sluice %s: %w\n%s", args[0], err, out)
		}
		return nil
	}
	defer func() {
		if downErr := sluice(context.WithoutCancel(ctx), "down", "--purge"); err == nil {
			err = downErr
		}
	}()
	for i, work := range []string{laptopFirst, laptopAgain} {
		if i > 0 {
			if err := sluice(ctx, "down"); err != nil {
				return err
			}
		}
		began := time.Now()
		if err := sluice(ctx, "up"); err != nil {
			return err
		}
		r.add("sluice", work, "wall", "s", time.Since(began).Seconds())
		progress("%s: %.1f s", work, time.Since(began).Seconds())
	}
	if err := o.pushes(ctx, r, state); err != nil {
		return err
	}
	pids, err := processesOf(state)
	if err != nil {
		return err
	}
	mb, err := memory("VmRSS", pids...)
	if err != nil {
		return err
	}
	r.add("sluice", laptopMemory, "resident", "MB", mb)
	progress("%s: %d processes, %.0f MB", laptopMemory, len(pids), mb)
	return nil
}

// pushes changes one ConfigMap in the platform's repository again and again, and takes the time from the start of
// `git push` until the cluster has it.
func (o *options) pushes(ctx context.Context, r *results, state string) error {
	kubeconfig, err := find(state, "admin.kubeconfig")
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	api, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	apps, err := find(state, filepath.Join("aks", "apps", "kustomization.yaml"))
	if err != nil {
		return err
	}
	folder := filepath.Dir(apps)
	const ns, name = "sops-workload-identity", "bench"
	text, err := os.ReadFile(apps)
	if err != nil {
		return err
	}
	if err := os.WriteFile(apps, []byte(strings.Replace(string(text), "resources:\n", "resources:\n- bench.yaml\n", 1)), 0o644); err != nil {
		return err
	}
	w, err := api.Resource(configMaps).Namespace(ns).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name, TimeoutSeconds: new(int64(600))})
	if err != nil {
		return err
	}
	defer w.Stop()
	for i := range pushes + 1 {
		want := strconv.Itoa(i)
		manifest := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  namespace: %s\ndata:\n  count: %q\n", name, ns, want)
		if err := os.WriteFile(filepath.Join(folder, "bench.yaml"), []byte(manifest), 0o644); err != nil {
			return err
		}
		for _, args := range [][]string{{"add", "-A"}, {"-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", "count " + want}} {
			if err := git(ctx, append([]string{"-C", folder}, args...)...); err != nil {
				return err
			}
		}
		began := time.Now()
		if err := git(ctx, "-C", folder, "push", "-q"); err != nil {
			return err
		}
		if err := arrival(ctx, w, want); err != nil {
			return err
		}
		if i > 0 { // the first creates it
			r.add("sluice", laptopPush, "applied after", "s", time.Since(began).Seconds())
		}
	}
	return nil
}

func arrival(ctx context.Context, w watch.Interface, want string) error {
	late := time.After(time.Minute)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return fmt.Errorf("the push of %s was not applied within a minute", want)
		case e, ok := <-w.ResultChan():
			if !ok {
				return fmt.Errorf("the watch ended before the push of %s was applied", want)
			}
			if o, is := e.Object.(*unstructured.Unstructured); is {
				if got, _, _ := unstructured.NestedString(o.Object, "data", "count"); got == want {
					return nil
				}
			}
		}
	}
}

// find gives the one file below dir whose path ends so.
func find(dir, end string) (path string, err error) {
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(p, string(filepath.Separator)+end) {
			path = p
			return filepath.SkipAll
		}
		return err
	})
	if err == nil && path == "" {
		err = fmt.Errorf("no file ends in %s", end)
	}
	return path, err
}

// processesOf lists the processes whose command line or environment names a state folder.
func processesOf(state string) (pids []int, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && pid != os.Getpid() && (strings.Contains(string(line), state) || strings.Contains(string(env), state)) {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("the platform has no process")
	}
	return pids, nil
}
