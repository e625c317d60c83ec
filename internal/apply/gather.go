package apply

import (
	"context"
	"reflect"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// item is one object on its way through a stage.
type item struct {
	target target
	body   []byte // of the apply request; nil: nothing to apply
	yield  []byte // of the apply itself, where it leaves ignored fields to others; nil: body
	change plan.Change
	lock   string // resourceVersion that a takeover relies on
	fault  *fault.Fault

	merged  *unstructured.Unstructured // answer to the dry-run, for the takeover
	written bool

	settled bool      // nobody was asked
	uid     types.UID // of a settled object
	unowned bool      // unchanged, though an apply would make more fields ours
	told    bool      // the Known was told how the object was left
}

// Gather asks the API server about the objects and returns what the plan decides about each, in the same order, without
// changing anything. Every object is asked about; the faults of all that would be refused come as one error.
func (a *Applier) Gather(ctx context.Context, p *plan.Plan, objects []*unstructured.Unstructured) ([]plan.Change, error) {
	no := func(inventory.Entry) bool { return false }
	items, err := a.gather(ctx, p, objects, no, no)
	changes := make([]plan.Change, len(items))
	for i, it := range items {
		changes[i] = it.change
		changes[i].Live = public(it.change.Live)
	}
	return changes, err
}

// bugCode is the code of a panic's fault.
const bugCode = "SLU-BUG-002"

// gather asks about all objects at once. fresh says which kinds were defined a moment ago, absent which objects cannot
// exist.
func (a *Applier) gather(ctx context.Context, p *plan.Plan, objects []*unstructured.Unstructured, fresh, absent func(inventory.Entry) bool) ([]*item, error) {
	items := make([]*item, len(objects))
	err := a.each(ctx, len(objects), func(ctx context.Context, i int) *fault.Fault {
		e := inventory.EntryOf(objects[i])
		items[i] = a.ask(ctx, p, objects[i], fresh(e), absent(e))
		return items[i].fault
	})
	return items, err
}

// each runs f for 0 to n-1, as many at a time as the Applier may, and returns the faults of all as one. It stops early
// only for a fault that would meet every other object as well, and then returns that one alone. A panic of f becomes one
// of the caller's, with a *fault.Fault: in a goroutine it would end the process, and print what it panicked with.
func (a *Applier) each(ctx context.Context, n int, f func(context.Context, int) *fault.Fault) error {
	faults := make([]*fault.Fault, n)
	var broken atomic.Pointer[fault.Fault]
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(a.Concurrency)
	for i := range n {
		g.Go(func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					f := fault.Panicked(p, fault.HopApply, bugCode)
					broken.Store(f)
					err = f
				}
			}()
			if faults[i] = f(ctx, i); faults[i] != nil && faults[i].Hop == fault.HopAPI {
				return faults[i] // cancels the others
			}
			return nil
		})
	}
	err := g.Wait()
	if f := broken.Load(); f != nil {
		panic(f)
	}
	if err != nil {
		return err
	}
	return joined(faults)
}

// ask puts the plan's question about one object and notes the decision.
func (a *Applier) ask(ctx context.Context, p *plan.Plan, desired *unstructured.Unstructured, fresh, absent bool) *item {
	e := inventory.EntryOf(desired)
	it := &item{change: plan.Change{ID: e.ID, Version: e.Version, Desired: desired}}
	fail := func(err error) *item {
		it.fault = a.explain(fault.HopApply, e.ID, err)
		return it
	}
	question := plan.Ask(desired)
	if question == plan.AskNothing {
		it.change, _ = p.Decide(desired, plan.Live{})
		return it
	}
	find := a.target
	if fresh {
		find = func(e inventory.Entry) (target, error) { return a.targetSoon(ctx, e) }
	}
	var err error
	if it.target, err = find(e); err != nil {
		return fail(err)
	}
	if it.target.namespaced && e.Namespace == "" {
		it.fault = noNamespace(e.ID)
		return it
	}
	if question == plan.AskExistence {
		seen, err := it.target.look(ctx)
		if err != nil {
			return fail(err)
		}
		if seen != nil {
			it.change, _ = p.Decide(desired, plan.Live{Object: metadataOnly(seen)})
			return it
		}
	}
	if it.body, err = payload(desired); err != nil {
		return fail(err)
	}
	if absent && !fresh && question == plan.AskDryRun {
		it.change.Action, it.change.Reason = plan.Created, "there is none"
		return it
	}
	return a.try(ctx, p, it, fresh)
}

// try makes the dry-run of an object and notes the decision.
func (a *Applier) try(ctx context.Context, p *plan.Plan, it *item, fresh bool) *item {
	desired, id := it.change.Desired, it.change.ID
	fail := func(err error) *item {
		it.fault = a.explain(fault.HopApply, id, err)
		return it
	}
	live, r, err := a.attempt(ctx, it, fresh)
	if err != nil {
		return fail(err)
	}
	it.merged = live.DryRun
	it.change, err = p.Decide(desired, live)
	ignores := live.DryRun != nil && p.Ignore.Concerns(live.DryRun)
	if err != nil && plan.Immutable(err) || err == nil && unread(it.change, live, ignores) {
		if live.Object, err = it.target.read(ctx); err != nil {
			return fail(err)
		}
		it.change, err = p.Decide(desired, live)
	}
	if err != nil {
		return fail(err)
	}
	a.warned(&it.change, r)
	if it.change.Live = live.DryRun; it.change.Live == nil || it.change.Action == plan.Unchanged && live.Object != nil {
		it.change.Live = live.Object // it stays so: the dry-run may have gained ownership of fields, which is not stored
	}
	it.unowned = live.Object != nil && live.DryRun != nil && !reflect.DeepEqual(
		a.fields(p.Ignore.Strip(live.Object, live.DryRun)), a.fields(p.Ignore.Strip(live.DryRun, live.DryRun)))
	if it.yield = nil; ignores && it.change.Action == plan.Configured {
		if it.yield, err = a.yield(p, it.body, live); err != nil {
			return fail(err)
		}
	}
	if live.DryRun != nil {
		it.lock = live.DryRun.GetResourceVersion()
	}
	return it
}

// attempt makes the dry-run. An answer that the API server gave about the object, even a refusal, is no error.
func (a *Applier) attempt(ctx context.Context, it *item, fresh bool) (plan.Live, *reply, error) {
	merged, r, err := a.dryRun(ctx, it.target, it.body)
	if fresh && unrouted(err) {
		merged, r, err = a.dryRunSoon(ctx, it)
	}
	if a.MigrateAPIVersion && undeclared(err) {
		if migrated, merr := it.target.migrate(ctx, it.change.Desired.GetAPIVersion(), a.FieldManager); merr != nil {
			return plan.Live{}, r, merr
		} else if migrated {
			merged, r, err = a.dryRun(ctx, it.target, it.body)
		}
	}
	if err != nil && apierrors.ReasonForError(err) == "" {
		return plan.Live{}, r, err
	}
	l := plan.Live{DryRun: merged, DryRunErr: err}
	if err == nil {
		l.Settled = settled(merged, a.FieldManager, r)
	} else {
		l.DryRun = nil
	}
	return l, r, nil
}

// unread says whether the decision hangs on a live object that was not read: the dry-run may have changed something.
func unread(c plan.Change, l plan.Live, ignores bool) bool {
	return c.Action == plan.Configured && l.Object == nil && (ignores || len(c.TakeOver) == 0 && len(c.Remove) == 0)
}
