package main

import (
	"fmt"
	"runtime"
	"strings"
)

// writeWhy says of the targets that are missed what stands in their way, with this run's own figures.
func writeWhy(b *strings.Builder, o *options, lines []result) {
	var texts []string
	if text, missed := whyFirstSync(lines); missed {
		texts = append(texts, text)
	}
	if text, missed := whyReconcileAll(o, lines); missed {
		texts = append(texts, text)
	}
	if len(texts) > 0 {
		fmt.Fprintf(b, "\n## What is missed, and why\n\n- %s\n", strings.Join(texts, "\n- "))
	}
}

// whyFirstSync adds up the CPU that a first sync takes of the machine, the API server's included.
func whyFirstSync(lines []result) (text string, missed bool) {
	wall, cpu := line(lines, firstSync, "wall"), line(lines, firstSync, "CPU")
	server, floor := line(lines, firstSync, "CPU of API server and etcd"), line(lines, bareWork, "CPU of API server and etcd")
	bare := line(lines, bareWork, "wall")
	if wall == nil || cpu == nil || server == nil || floor == nil || bare == nil || wall.Ratio == nil || *wall.Ratio >= 8 {
		return "", false
	}
	cores := float64(runtime.NumCPU())
	return fmt.Sprintf(`**First sync, wall.** The API server and etcd use %.1f s of CPU for it, %.1f s of them for the objects themselves, which
  is the bare client's line; the rest is the creation of the Kustomizations, their finalizers, inventories and statuses, and
  the watches. With the engine's own %.1f s that makes %.1f s, or %.1f s on each of %.0f cores. Eight times less than Flux
  would be %.1f s; the bare client alone takes %.1f s.`,
		*server.Value, *floor.Value, *cpu.Value, *server.Value+*cpu.Value, (*server.Value+*cpu.Value)/cores, cores,
		*wall.PeerValue/8, *bare.Value), true
}

// whyReconcileAll shares out what a reconcile that finds everything standing costs.
func whyReconcileAll(o *options, lines []result) (text string, missed bool) {
	cpu := line(lines, reconcileAll, "CPU")
	if cpu == nil || cpu.Ratio == nil || *cpu.Ratio >= 300 {
		return "", false
	}
	return fmt.Sprintf(`**Reconcile all, CPU.** It is %.1f ms for each of %d Kustomizations, and nothing is read, rendered or compared any more: what
  is left is to receive the event that asks, to send the status that answers, and to receive that status's own event, all
  of it JSON over TLS. Three hundred times less than Flux would be %.1f ms.`,
		1000**cpu.Value/float64(o.apps), o.apps, 1000**cpu.PeerValue/300/float64(o.apps)), true
}

// line finds a result that has a value.
func line(lines []result, work, metric string) *result {
	for i := range lines {
		if lines[i].Work == work && lines[i].Metric == metric && lines[i].Value != nil {
			return &lines[i]
		}
	}
	return nil
}
