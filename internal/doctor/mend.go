package doctor

import (
	"context"
	"errors"
)

// mostRemedies ends a treatment in which every remedy uncovers another broken hop.
const mostRemedies = 10

// Treatment says what Mend's caller does in its course. No field may be nil.
type Treatment struct {
	Show func(*Report)                   // each look, before anything is done about it
	Tell func(r *Report, h *Hop)         // h is mended next
	Left func(r *Report, h *Hop)         // h is broken, and not mended
	Wait func(ctx context.Context) error // lets time pass until the next look at what a remedy did; an error: no more
}

// Mend looks, and mends what is broken and safe to mend, after showing it, until nothing is left of that kind. It returns
// the last look. What is not safe is never applied: its commands are in the report.
func Mend(ctx context.Context, o Options, t Treatment) (*Report, error) {
	for range mostRemedies {
		r, err := Examine(ctx, o)
		if err != nil {
			return nil, err
		}
		t.Show(r)
		h := r.Broken()
		if h == nil {
			return r, nil
		}
		if !h.Remedy.Applicable() || !h.Remedy.Safe {
			t.Left(r, h)
			return r, nil
		}
		t.Tell(r, h)
		if err := Apply(ctx, o, h.Remedy); err != nil {
			return nil, err
		}
		if err := await(ctx, o, h, t.Wait); err != nil {
			return nil, err
		}
	}
	return Examine(ctx, o)
}

// await gives a rollout, or a change at Azure, the time to show: until the mended hop is not the broken one any more. A new
// pod template is not the broken pod's fault.
func await(ctx context.Context, o Options, mended *Hop, wait func(context.Context) error) error {
	for {
		if err := wait(ctx); err != nil {
			return ctx.Err() // the next look tells what is still broken
		}
		r, err := Examine(ctx, o)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if err != nil {
			continue
		}
		h := r.Broken()
		rolling := h != nil && h.Name == "pod" && mended.Remedy.Patch != nil && mended.Remedy.Patch.Kind == "Deployment"
		if h == nil || h.Name != mended.Name && !rolling {
			return nil
		}
	}
}
