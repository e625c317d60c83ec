package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// options are what the command line says.
type options struct {
	bin      string // folder of the built programs
	temp     string // folder on tmpfs
	main     string // the main module
	apps     int
	objects  int
	runs     int
	peers    []string
	growth   []int
	handOver bool
	laptop   bool
	secrets  int
	results  string
	page     string
	note     string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log.SetLogger(logr.Discard()) // or controller-runtime complains
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse() (*options, error) {
	o := &options{}
	var peers, growth string
	flag.StringVar(&o.bin, "bin", "bin", "folder that holds sluice, sluice-cluster, kustomize-controller and source-controller")
	flag.StringVar(&o.temp, "temp", "/dev/shm", "folder on tmpfs for everything that is written")
	flag.StringVar(&o.main, "main", "..", "folder of the main module")
	flag.IntVar(&o.apps, "apps", 200, "number of Kustomizations")
	flag.IntVar(&o.objects, "objects", 10, "objects of each, one of them an encrypted Secret")
	flag.IntVar(&o.runs, "runs", 1, "how often everything is measured; medians are reported")
	flag.StringVar(&peers, "peers", "flux,sluice", "engines to measure; none: leave the table as it was")
	flag.StringVar(&growth, "growth", "", "numbers of Kustomizations to measure Sluice alone with, as 1000,5000")
	flag.BoolVar(&o.handOver, "handover", false, "also let Sluice take over from Flux, and Flux from Sluice")
	flag.BoolVar(&o.laptop, "laptop", false, "also measure sluice up")
	flag.IntVar(&o.secrets, "secrets", 0, "also measure sluice secrets beside sops, with this many files")
	flag.StringVar(&o.results, "results", "results.json", "where the figures go; those of works that are not measured now stay")
	flag.StringVar(&o.page, "page", "../docs/benchmarks.md", "where the page goes, with its chart beside it")
	flag.StringVar(&o.note, "note", "", "a paragraph for the page: what a reader must know of this run")
	flag.Parse()
	for _, p := range strings.Split(peers, ",") {
		if p != "" && p != "none" {
			o.peers = append(o.peers, p)
		}
	}
	for _, n := range strings.FieldsFunc(growth, func(r rune) bool { return r == ',' }) {
		size, err := strconv.Atoi(n)
		if err != nil {
			return nil, fmt.Errorf("-growth: %w", err)
		}
		o.growth = append(o.growth, size)
	}
	var err error
	o.bin, err = filepath.Abs(o.bin)
	return o, err
}

func run(ctx context.Context) error {
	o, err := parse()
	if err != nil {
		return err
	}
	r, err := readResults(o.results)
	if err != nil {
		return err
	}
	var failures []error // a work that fails does not take the others' figures with it
	try := func(what string, err error) {
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", what, err))
			progress("FAILED %s: %v", what, err)
		}
	}
	for range o.runs {
		for _, name := range o.peers {
			try(name, o.sequence(ctx, r, name, o.apps))
		}
	}
	if o.handOver {
		try("hand-over", o.measureHandOvers(ctx, r))
	}
	for _, size := range o.growth {
		try(fmt.Sprintf("%d Kustomizations", size), o.sequence(ctx, r, "sluice", size))
	}
	if o.laptop {
		try("laptop", o.laptops(ctx, r))
	}
	if o.secrets > 0 {
		try("secrets", o.measureSecrets(ctx, r, o.secrets))
	}
	ctx = context.WithoutCancel(ctx) // what was measured before an interrupt is as true as ever
	if err := errors.Join(r.write(o.results), writePage(ctx, o, r)); err != nil {
		return err
	}
	return errors.Join(failures...)
}

// crds are the files of an engine's CRDs.
func (o *options) crds(ctx context.Context, name string) ([]string, error) {
	ours := filepath.Join(o.main, "internal", "crds", "crds.yaml")
	if name == "sluice" {
		return []string{ours}, nil
	}
	var dirs []string
	for _, m := range []string{"kustomize-controller", "source-controller"} {
		out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/fluxcd/"+m).Output()
		if err != nil {
			return nil, fmt.Errorf("go list -m %s: %w", m, err)
		}
		dirs = append(dirs, filepath.Join(strings.TrimSpace(string(out)), "config", "crd", "bases"))
	}
	return dirs, nil
}

// folder makes a folder on tmpfs; remove takes it away.
func (o *options) folder() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp(o.temp, "sluice-bench-")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

// sequence measures one engine with a number of Kustomizations, from an empty API server on.
func (o *options) sequence(ctx context.Context, r *results, name string, apps int) (err error) {
	dir, remove, err := o.folder()
	if err != nil {
		return err
	}
	defer func() { keepLogs(err, remove, dir) }()
	w, err := newWorkload(ctx, dir, apps, o.objects)
	if err != nil {
		return err
	}
	crds, err := o.crds(ctx, name)
	if err != nil {
		return err
	}
	s, err := newScene(ctx, o, dir, w, crds...)
	if s != nil {
		defer s.close()
	}
	if err != nil {
		return err
	}
	if err := s.start(ctx, name, o.bin, filepath.Join(dir, name)); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	idle, err := memory("VmRSS", s.peer.PIDs()...)
	if err != nil {
		return err
	}
	revision, err := w.head(ctx)
	if err != nil {
		return err
	}
	key := func(work string) string {
		if apps == o.apps {
			return work
		}
		return fmt.Sprintf("%s, %d Kustomizations", work, apps)
	}
	for _, step := range []struct {
		work string
		do   func() (cost, error)
	}{
		{firstSync, func() (cost, error) { return s.firstSync(ctx, revision) }},
		{oneFile, func() (cost, error) { return s.oneFile(ctx) }},
		{reconcileAll, func() (cost, error) { return s.reconcileAll(ctx) }},
	} {
		c, err := step.do()
		if err != nil {
			return fmt.Errorf("%s: %w", step.work, err)
		}
		progress("%s, %d: %s: %+v", name, apps, step.work, c)
		r.addCost(name, key(step.work), c)
	}
	now, err := memory("VmRSS", s.peer.PIDs()...)
	if err != nil {
		return err
	}
	peak, err := memory("VmHWM", s.peer.PIDs()...)
	if err != nil {
		return err
	}
	r.add(name, key(memoryWork), "peak resident", "MB", peak)
	r.add(name, key(memoryWork), "resident, idle and empty", "MB", idle)
	r.add(name, key(memoryWork), "resident, after the works", "MB", now)
	progress("%s, %d: peak %.0f MB, after %.0f MB, empty %.0f MB", name, apps, peak, now, idle)
	if apps != o.apps {
		return nil
	}
	deleted, edited, err := s.drift(ctx)
	if err != nil {
		return err
	}
	r.add(name, handDeleted, "put right after", "s", deleted)
	r.add(name, handEdited, "put right after", "s", edited)
	progress("%s: deleted by hand %.2f s, edited by hand %.2f s", name, deleted, edited)
	if name != "sluice" {
		return nil
	}
	c, err := s.intervals(ctx)
	if err != nil {
		return err
	}
	r.addCost(name, intervalPass, c)
	progress("%s: %s: %+v", name, intervalPass, c)
	wall, apiCPU, err := s.bare(ctx)
	if err != nil {
		return err
	}
	r.add(name, bareWork, "wall", "s", wall)
	r.add(name, bareWork, "CPU of API server and etcd", "s", apiCPU)
	progress("%s: %.1f s, %.1f s of the server's CPU", bareWork, wall, apiCPU)
	return nil
}

// keepLogs removes a folder unless what happened there failed.
func keepLogs(err error, remove func(), dir string) {
	if err != nil {
		progress("logs stay in %s", dir)
		return
	}
	remove()
}
