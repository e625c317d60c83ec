package parity

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/bench/lab"
)

// compare waits until both engines have left the same, but for what is explained.
func (p *play) compare(ctx context.Context) error {
	var used map[*difference]bool
	var lines []string
	_ = lab.Poll(ctx, alike, func() error {
		views := map[*world]view{}
		for _, w := range p.both() {
			v, err := p.look(ctx, w)
			if err != nil {
				lines = []string{fmt.Sprintf("%s: %v", w, err)}
				return err
			}
			views[w] = v
		}
		if lines, used = diff(p.name, views[p.flux], views[p.sluice]); len(lines) > 0 {
			return fmt.Errorf("%d differences", len(lines))
		}
		return nil
	})
	if len(lines) > 0 {
		p.failed = true
		p.t.Errorf("differs from Flux:\n%s", strings.Join(lines, "\n"))
		return nil
	}
	for d := range used {
		d.used.Store(true)
	}
	return nil
}

// diff tells what differs and is not explained, and which explanations were needed.
func diff(fixture string, flux, sluice view) (lines []string, used map[*difference]bool) {
	paths := map[string]bool{}
	for path := range flux {
		paths[path] = true
	}
	for path := range sluice {
		paths[path] = true
	}
	used = map[*difference]bool{}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		theirs, inTheirs := flux[path]
		ours, inOurs := sluice[path]
		if theirs == ours && inTheirs == inOurs {
			continue
		}
		if d := allowed(fixture, path); d != nil {
			used[d] = true
			continue
		}
		lines = append(lines, path, "    flux:   "+side(theirs, inTheirs), "    sluice: "+side(ours, inOurs))
	}
	return lines, used
}

func side(value string, there bool) string {
	if !there {
		return "(nothing)"
	}
	return strings.ReplaceAll(value, "\n", "\n            ")
}
