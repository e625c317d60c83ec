package apply

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// run is one Apply under way.
type run struct {
	*Applier
	plan  *plan.Plan
	save  Save
	on    On
	saved bool // the union is stored, or need not be

	mu      sync.Mutex // held while on is called
	result  Result
	applied map[types.UID]inventory.ID
}

// Apply carries the plan out. save is called once, with the union of the old and the new inventory, before the first
// write, unless the old inventory holds everything already; so no crash can leave an object that nobody owns. on may be
// nil.
//
// Each stage is asked about whole before any of it is written; if anything in it would be refused, all that would be is
// reported as one error, and neither it nor a later stage is written. Stale objects are pruned only after everything was
// applied. The Result counts whether or not there is an error: what was applied stays, and Result.Inventory names it.
func (a *Applier) Apply(ctx context.Context, p *plan.Plan, save Save, on On) (Result, error) {
	p, err := p.Scoped(a.clusterScoped(p))
	if err != nil {
		return Result{Inventory: p.Old}, err
	}
	r := &run{Applier: a, plan: p, save: save, on: on, applied: map[types.UID]inventory.ID{}}
	r.result.Inventory = p.Old
	r.saved = p.Union().Equal(p.Old)
	for _, stage := range p.Stages {
		if err := r.stage(ctx, stage); err != nil {
			return r.result, err
		}
	}
	r.result.Inventory = p.New
	stale := p.Stale()
	if stale.Len() == 0 {
		return r.result, nil
	}
	left, err := r.prune(ctx, p.Owner, stale)
	r.result.Inventory = p.New.Union(left)
	return r.result, err
}

func (r *run) stage(ctx context.Context, s plan.Stage) error {
	items, err := r.gather(ctx, r.plan, s.Objects, r.definedHere())
	if err != nil {
		for _, it := range items {
			if it.fault != nil && it.fault.Hop != fault.HopAPI {
				r.tell(it.change, it.fault)
			}
		}
		return err
	}
	var waves [3][]*item
	for _, it := range items {
		if it.change.Writes() {
			w := it.change.ID.Wave()
			waves[w] = append(waves[w], it)
		}
	}
	for _, wave := range waves {
		if len(wave) == 0 {
			continue
		}
		if err := r.cover(ctx); err != nil {
			return err
		}
		err := r.each(ctx, len(wave), func(ctx context.Context, i int) *fault.Fault {
			it := wave[i]
			if it.fault = r.write(ctx, r.plan, it); it.fault != nil {
				r.tell(it.change, it.fault)
			}
			return it.fault
		})
		if err != nil {
			r.note(items)
			return err
		}
	}
	r.note(items)
	if s.Stage == inventory.Resources {
		return nil
	}
	return r.await(ctx, items)
}

// cover stores the union of both inventories before the first write.
func (r *run) cover(ctx context.Context) error {
	union := r.plan.Union()
	if !r.saved {
		if err := r.save(ctx, union); err != nil {
			return fmt.Errorf("store the inventory, before anything is applied: %w", err)
		}
		r.saved = true
	}
	r.result.Inventory = union
	return nil
}

// note records what came to pass of a stage's items.
func (r *run) note(items []*item) {
	var entries []inventory.Entry
	defer func() { r.result.Inventory = r.result.Inventory.Union(inventory.New(entries...)) }()
	for _, it := range items {
		if it.fault != nil || it.change.Writes() && !it.written {
			continue
		}
		entries = append(entries, inventory.Entry{ID: it.change.ID, Version: it.change.Version})
		if it.change.Live != nil {
			r.applied[it.change.Live.GetUID()] = it.change.ID
		}
		it.change.Live = public(it.change.Live)
		r.tell(it.change, nil)
		r.result.Changes = append(r.result.Changes, it.change)
	}
}

func (r *run) tell(c plan.Change, f *fault.Fault) {
	if r.on == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if f == nil {
		r.on(c, nil)
		return
	}
	r.on(c, f)
}

// clusterScoped tells a kind's scope: from the definitions that the plan itself brings, else from discovery. A kind that
// neither knows counts as namespaced, and fails later if it isn't served.
func (a *Applier) clusterScoped(p *plan.Plan) func(inventory.ID) bool {
	defined := definitions(p)
	return func(id inventory.ID) bool {
		if scope, ok := defined[inventory.ID{Group: id.Group, Kind: id.Kind}]; ok {
			return scope == "Cluster"
		}
		mapping, err := a.Mapper.RESTMapping(id.GroupKind())
		return err == nil && mapping.Scope.Name() == meta.RESTScopeNameRoot
	}
}

// definedHere says which kinds the plan's own definitions bring.
func (r *run) definedHere() func(inventory.ID) bool {
	defined := definitions(r.plan)
	return func(id inventory.ID) bool {
		_, ok := defined[inventory.ID{Group: id.Group, Kind: id.Kind}]
		return ok
	}
}

// definitions returns the scope of each kind that the plan's CustomResourceDefinitions define.
func definitions(p *plan.Plan) map[inventory.ID]string {
	defined := map[inventory.ID]string{}
	for _, stage := range p.Stages {
		if stage.Stage != inventory.Definitions {
			continue
		}
		for _, u := range stage.Objects {
			if u.GetKind() != "CustomResourceDefinition" {
				continue
			}
			group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
			kind, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
			scope, _, _ := unstructured.NestedString(u.Object, "spec", "scope")
			defined[inventory.ID{Group: group, Kind: kind}] = scope
		}
	}
	return defined
}
