package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// writePage makes docs/benchmarks.md, and its chart beside it, of the results.
func writePage(ctx context.Context, o *options, r *results) error {
	lines := r.lines()
	where, err := machine(ctx, o)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# Benchmarks

Made by `+"`make bench`"+` from bench/results.json; no figure is edited by hand. Flux's controllers and Sluice run one after the
other on one machine, each over a fresh API server (etcd and kube-apiserver, no other controllers), everything that is
written on tmpfs, both with their default settings. The workload: %d Kustomizations of one Git repository, %d objects
each, one of them an age-encrypted Secret.

%s

%s
![How many times less Sluice needs than Flux, on a logarithmic scale](benchmarks.svg)

## Side by side

| work | measured | Flux | Sluice | Flux ÷ Sluice | target | |
|---|---|---:|---:|---:|---|---|
`, o.apps, o.objects, o.note, where)
	for _, l := range lines {
		if _, _, grown := size(l.Work); grown || isLaptop(l.Work) || isSecrets(l.Work) {
			continue
		}
		want, met := l.verdict()
		fmt.Fprintf(&b, "| %s | %s, %s | %s | %s | %s | %s | %s |\n", l.Work, l.Metric, l.Unit, show(l.PeerValue), show(l.Value), show(l.Ratio), want, met)
	}
	b.WriteString(`
CPU is user and system time of the engine's processes, until they are quiet again after the work. Requests are the API
server's own count without watches, without what the server asks of itself and without the benchmark's. Status writes
and other requests add up to all requests. What was changed by hand was changed at an interval of one minute: Flux looks
only then. An interval that passes is one round of all Kustomizations. The bare client is the floor of a first sync:
whatever applies these objects cannot take less of the API server, with which the engine shares the machine.
`)
	writeWhy(&b, o, lines)
	writeGrowth(&b, o, lines)
	writeLaptop(&b, lines)
	writeSecrets(&b, lines)
	if err := os.WriteFile(strings.TrimSuffix(o.page, ".md")+".svg", []byte(chart(lines)), 0o644); err != nil {
		return err
	}
	return os.WriteFile(o.page, []byte(b.String()), 0o644)
}

var sized = regexp.MustCompile(`^(.*), (\d+) Kustomizations$`)

// size takes a work's number of Kustomizations off its name.
func size(work string) (name string, n int, ok bool) {
	m := sized.FindStringSubmatch(work)
	if m == nil {
		return work, 0, false
	}
	n, err := strconv.Atoi(m[2])
	return m[1], n, err == nil
}

// writeGrowth shows what a commit that changes one file costs at several sizes.
func writeGrowth(b *strings.Builder, o *options, lines []result) {
	sizes := map[int]map[string]float64{}
	for _, l := range lines {
		name, n, grown := size(l.Work)
		if !grown {
			n = o.apps
		}
		if l.Value != nil {
			if sizes[n] == nil {
				sizes[n] = map[string]float64{}
			}
			sizes[n][name+"/"+l.Metric] = *l.Value
		}
	}
	if len(sizes) < 2 {
		return
	}
	b.WriteString(`
## How it grows

Sluice alone, one process. A commit that changes one file of one app:

| Kustomizations | all report after, s | changed object applied after, s | CPU, s | CPU of each, ms | requests of each | memory, MB | kB more for each |
|---:|---:|---:|---:|---:|---:|---:|---:|
`)
	var last int
	for _, n := range slices.Sorted(keys(sizes)) {
		v := sizes[n]
		more := ""
		if last > 0 {
			const held = memoryWork + "/resident, after the works"
			more = fmt.Sprintf("%.0f", (v[held]-sizes[last][held])*1024/float64(n-last))
		}
		fmt.Fprintf(b, "| %d | %.2f | %.2f | %.2f | %.2f | %.2f | %.0f | %s |\n", n, v[oneFile+"/wall"], v[oneFile+"/changed object applied"],
			v[oneFile+"/CPU"], 1000*v[oneFile+"/CPU"]/float64(n), v[oneFile+"/all requests"]/float64(n), v[memoryWork+"/resident, after the works"], more)
		last = n
	}
	b.WriteString("\nTargets: CPU and requests of each stay flat, the changed object is applied within 2 s, less than 100 kB more for each.\n")
}

func writeLaptop(b *strings.Builder, lines []result) {
	first := true
	for _, l := range lines {
		if !isLaptop(l.Work) {
			continue
		}
		if first {
			b.WriteString("\n## On a laptop\n\n| work | measured | Sluice | target | |\n|---|---|---:|---|---|\n")
			first = false
		}
		want, met := l.verdict()
		fmt.Fprintf(b, "| %s | %s, %s | %s | %s | %s |\n", l.Work, l.Metric, l.Unit, show(l.Value), want, met)
	}
}

func isLaptop(work string) bool {
	return slices.Contains([]string{laptopFirst, laptopAgain, laptopPush, laptopMemory}, work)
}

// writeSecrets compares with sops.
func writeSecrets(b *strings.Builder, lines []result) {
	first := true
	for _, l := range lines {
		if !isSecrets(l.Work) {
			continue
		}
		if first {
			b.WriteString(secretsHead)
			first = false
		}
		want, met := l.verdict()
		fmt.Fprintf(b, "| %s | %s, %s | %s | %s | %s | %s | %s |\n", l.Work, l.Metric, l.Unit, show(l.PeerValue), show(l.Value), show(l.Ratio), want, met)
	}
}

// show writes a figure with three significant digits, integers whole.
func show(v *float64) string {
	switch {
	case v == nil:
		return ""
	case *v >= 100 || *v == float64(int64(*v)):
		return fmt.Sprintf("%.0f", *v)
	}
	return fmt.Sprintf("%.3g", *v)
}

func keys[V any](m map[int]V) func(func(int) bool) {
	return func(yield func(int) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// machine names what was measured, on what, with what else going on.
func machine(ctx context.Context, o *options) (string, error) {
	version := func(dir, module string) (string, error) {
		cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", module)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("go list -m %s: %w", module, err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	commit, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "", fmt.Errorf("git describe: %w", err)
	}
	names := []any{strings.TrimSpace(string(commit))}
	if !slices.Contains(o.peers, "sluice") {
		names[0] = "not measured anew when this page was made" // so this commit would be a false name for it
	}
	for _, m := range [][2]string{
		{".", "github.com/fluxcd/kustomize-controller"}, {".", "github.com/fluxcd/source-controller"},
		{filepath.Join(o.main, "cluster"), "k8s.io/kubernetes"}, {filepath.Join(o.main, "cluster"), "go.etcd.io/etcd/server/v3"},
	} {
		v, err := version(m[0], m[1])
		if err != nil {
			return "", err
		}
		names = append(names, v)
	}
	names = append(names, runtime.Version(), runtime.NumCPU(), cpuModel(), firstLine("/proc/meminfo", "MemTotal"), firstLine("/proc/sys/kernel/osrelease", ""), load(), time.Now().UTC().Format(time.DateOnly))
	return fmt.Sprintf(`| | |
|---|---|
| Sluice | %s |
| Flux | kustomize-controller %s, source-controller %s |
| API server | Kubernetes %s, etcd %s |
| Go | %s |
| Machine | %d cores (%s), %s memory, Linux %s |
| Load of the machine when this was written | %s |
| Date | %s |
`, names...), nil
}

func cpuModel() string { return firstLine("/proc/cpuinfo", "model name") }

// load is the number of processes that wanted to run, over the last 15 minutes: more than the benchmark's own two or
// three means that it was not alone.
func load() string {
	f := strings.Fields(firstLine("/proc/loadavg", ""))
	if len(f) < 3 {
		return "unknown"
	}
	return f[2] + " (15-minute average)"
}

// firstLine is the first line of a file that begins with key, without it.
func firstLine(path, key string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(rest), ":"))
		}
	}
	return "unknown"
}
