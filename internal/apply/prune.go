package apply

import (
	"context"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// PruneOptions say how far Prune goes.
type PruneOptions struct {
	Wait time.Duration // how long to wait until the deleted objects are gone; 0: not at all
}

// Prune deletes everything in the inventory that owner can be shown to own, in the reverse of apply order: what
// happens when a Kustomization is deleted. Result.Inventory is what could not be deleted and must be kept, and
// Result.Terminating what was deleted, now or before, and is still there after opts.Wait. on may be nil.
func (a *Applier) Prune(ctx context.Context, inv inventory.Set, owner plan.Owner, opts PruneOptions, on On) (Result, error) {
	r := &run{Applier: a, on: on}
	r.release(owner, inv)
	left, err := r.prune(ctx, owner, inv)
	r.result.Inventory = left
	if err == nil && opts.Wait > 0 {
		ctx, cancel := context.WithTimeout(ctx, opts.Wait)
		defer cancel()
		r.result.Terminating, err = r.awaitGone(ctx)
	}
	return r.result, err
}

// prune deletes the stale entries and returns those that it could not delete. One object's refusal stops no other's
// deletion.
func (r *run) prune(ctx context.Context, owner plan.Owner, stale inventory.Set) (inventory.Set, error) {
	var mu sync.Mutex
	var left []inventory.Entry
	var failures []*fault.Fault
	for _, wave := range reversed(stale) {
		changes := make([]plan.Change, len(wave))
		faults := make([]*fault.Fault, len(wave))
		_ = r.each(ctx, len(wave), func(ctx context.Context, i int) *fault.Fault {
			changes[i], faults[i] = r.pruneOne(ctx, owner, wave[i])
			if faults[i] != nil {
				mu.Lock()
				defer mu.Unlock()
				left = append(left, wave[i])
			}
			return faults[i]
		})
		for i, c := range changes {
			if faults[i] == nil {
				r.tell(c, nil)
				r.result.Changes = append(r.result.Changes, c)
				continue
			}
			r.tell(plan.Change{ID: wave[i].ID, Version: wave[i].Version, Action: plan.Pruned}, faults[i])
			failures = append(failures, faults[i])
		}
	}
	return inventory.New(left...), joined(failures)
}

// reversed groups the entries that may be deleted at the same time, last applied first.
func reversed(s inventory.Set) [][]inventory.Entry {
	var waves [][]inventory.Entry
	entries := s.Entries()
	slices.Reverse(entries)
	slices.SortStableFunc(entries, func(a, b inventory.Entry) int {
		if a.Stage() != b.Stage() {
			return int(b.Stage() - a.Stage())
		}
		return b.Wave() - a.Wave()
	})
	for i, e := range entries {
		if i == 0 || e.Stage() != entries[i-1].Stage() || e.Wave() != entries[i-1].Wave() {
			waves = append(waves, nil)
		}
		waves[len(waves)-1] = append(waves[len(waves)-1], e)
	}
	return waves
}

// pruneOne looks at one object, decides, and deletes it if it is ours. When it changes between look and deletion, it
// looks again.
func (r *run) pruneOne(ctx context.Context, owner plan.Owner, e inventory.Entry) (plan.Change, *fault.Fault) {
	for try := 1; ; try++ {
		t, live, err := r.find(ctx, e)
		if err != nil {
			return plan.Change{}, r.explain(fault.HopPrune, e.ID, err)
		}
		var object metav1.Object
		if live != nil {
			object = live
		}
		c := owner.DecidePrune(e, object, r.applied)
		if c.Action != plan.Pruned {
			if c.Action == plan.Gone && live != nil {
				c.Live = metadataOnly(live) // it is still going
			}
			return c, nil
		}
		err = t.remove(ctx, live)
		if apierrors.IsConflict(err) && try < 5 {
			continue
		}
		if err != nil {
			return c, r.explain(fault.HopPrune, e.ID, err)
		}
		c.Live = metadataOnly(live)
		return c, nil
	}
}

// find looks for a stale object under every spelling of its name. A kind that isn't served any more has no objects left.
func (r *run) find(ctx context.Context, e inventory.Entry) (target, *metav1.PartialObjectMetadata, error) {
	t, err := r.targetOfAnyVersion(e)
	if unserved(err) {
		return t, nil, nil
	}
	if err != nil {
		return t, nil, err
	}
	for _, t.name = range e.Spellings() {
		live, err := t.look(ctx)
		if live != nil || err != nil {
			return t, live, err
		}
	}
	return t, nil, nil
}

// awaitGone waits until what was deleted is gone, and returns what is still there when ctx ends.
func (r *run) awaitGone(ctx context.Context) ([]inventory.Entry, error) {
	var waiting []plan.Change
	for _, c := range r.result.Changes {
		if c.Live != nil && (c.Action == plan.Pruned || c.Action == plan.Gone) {
			waiting = append(waiting, c)
		}
	}
	stays := make([]bool, len(waiting))
	err := r.each(ctx, len(waiting), func(ctx context.Context, i int) *fault.Fault {
		c := waiting[i]
		t, err := r.targetOfAnyVersion(inventory.Entry{ID: c.ID, Version: c.Version})
		if unserved(err) {
			return nil
		}
		if err == nil {
			t.name = c.Live.GetName()
			err = t.gone(ctx, types.UID(c.Live.GetUID()))
		}
		if stays[i] = err != nil; err == nil || ctx.Err() != nil {
			return nil
		}
		return r.explain(fault.HopPrune, c.ID, err)
	})
	var left []inventory.Entry
	for i, c := range waiting {
		if stays[i] {
			left = append(left, inventory.Entry{ID: c.ID, Version: c.Version})
		}
	}
	return left, err
}
