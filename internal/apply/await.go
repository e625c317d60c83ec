package apply

import (
	"context"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/health"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// await waits until what later stages rest on can be used: definitions established, namespaces active. Answers to the
// apply tell that of most; only the others are read again.
func (r *run) await(ctx context.Context, items []*item) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.StageTimeout, errStage)
	defer cancel()
	return r.each(ctx, len(items), func(ctx context.Context, i int) *fault.Fault {
		it := items[i]
		if it.change.Action == plan.Skipped || it.settled {
			return nil
		}
		f := r.ready(ctx, it)
		if f != nil {
			r.tell(it.change, f)
		}
		return f
	})
}

func (r *run) ready(ctx context.Context, it *item) *fault.Fault {
	id := it.change.ID
	live := it.change.Live
	for pause := 20 * time.Millisecond; ; pause = min(pause*3/2, 2*time.Second) {
		v := health.Of(id, live)
		switch v.State {
		case health.Current:
			return nil
		case health.Terminating:
			return terminating(id)
		case health.Failed:
			return notReady(id, r.hide.Redact(v.Message))
		}
		select {
		case <-ctx.Done():
			if context.Cause(ctx) == errStage {
				return notReady(id, "after "+r.StageTimeout.String()+": "+r.hide.Redact(v.Message))
			}
			return r.explain(fault.HopApply, id, ctx.Err())
		case <-time.After(pause):
		}
		var err error
		if live, err = it.target.read(ctx); err != nil && ctx.Err() == nil {
			return r.explain(fault.HopApply, id, err)
		}
		if live != nil {
			it.change.Live = public(live)
		}
	}
}

// stageOf is for messages: what a stage's objects have to become.
func stageOf(id inventory.ID) string {
	switch id.Kind {
	case "CustomResourceDefinition":
		return "established"
	case "Namespace":
		return "active"
	}
	return "ready"
}
