package apply

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
	made    map[string]bool // namespaces that this run has created
}

// Apply carries the plan out. save is called once, with the union of the old and the new inventory, before the first
// write, unless the old inventory holds everything already; so no crash can leave an object that nobody owns. on may be
// nil.
//
// Each stage is asked about whole before any of it is written; if anything in it would be refused, all that would be is
// reported as one error, and neither it nor a later stage is written. Only objects of a namespace that this very run has
// made are not asked about: there is nothing to compare with, and no good state to protect. Stale objects are pruned only after everything was
// applied. The Result counts whether or not there is an error: what was applied stays, and Result.Inventory names it.
func (a *Applier) Apply(ctx context.Context, p *plan.Plan, save Save, on On) (Result, error) {
	p, err := p.Scoped(a.clusterScoped(p))
	if err != nil {
		return Result{Inventory: p.Old}, err
	}
	r := &run{Applier: a, plan: p, save: save, on: on, applied: map[types.UID]inventory.ID{}, made: map[string]bool{}}
	r.result.Inventory = p.Old
	r.saved = p.Union().Equal(p.Old)
	for _, stage := range p.Stages {
		if err := r.stage(ctx, stage); err != nil {
			return r.result, err
		}
	}
	r.result.Inventory = p.New
	r.release(p.Owner, p.Old.Diff(p.New))
	stale := p.Stale()
	if stale.Len() == 0 {
		return r.result, nil
	}
	left, err := r.prune(ctx, p.Owner, stale)
	r.result.Inventory = p.New.Union(left)
	return r.result, err
}

func (r *run) stage(ctx context.Context, s plan.Stage) error {
	items, err := r.question(ctx, s.Objects)
	defer func() {
		for _, it := range items { // those that were not written, for whatever reason
			r.left(r.plan.Owner, it)
		}
	}()
	if err != nil {
		for _, it := range items {
			r.tellFault(it)
		}
		return err
	}
	var waves [3][]*item
	for _, it := range items {
		if it.change.Writes() {
			w := it.change.ID.Wave()
			waves[w] = append(waves[w], it)
			continue
		}
		r.left(r.plan.Owner, it)
		it.change.Live = public(it.change.Live)
		r.tell(it.change, nil)
	}
	defer func() { r.note(items) }()
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
				r.tellFault(it)
				return it.fault
			}
			r.tell(it.change, nil)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if s.Stage == inventory.Resources || s.Stage == inventory.Early {
		return nil
	}
	return r.await(ctx, items)
}

// question returns the items of a stage in its order: those that are settled, and those that the API server was asked about.
func (r *run) question(ctx context.Context, objects []*unstructured.Unstructured) ([]*item, error) {
	items := make([]*item, len(objects))
	var unsettled []*unstructured.Unstructured
	for i, u := range objects {
		if items[i] = r.recall(u); items[i] == nil {
			unsettled = append(unsettled, u)
		}
	}
	if len(unsettled) == 0 {
		return items, nil
	}
	absent := r.absent
	if len(objects) == 1 && plan.Ask(objects[0]) == plan.AskDryRun {
		absent = r.alone(ctx)
	}
	asked, err := r.gather(ctx, r.plan, unsettled, definitions(r.plan).brings, absent)
	for i := range items {
		if items[i] == nil {
			items[i], asked = asked[0], asked[1:]
		}
	}
	return items, err
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
	for _, it := range items {
		if it.change.Writes() && !it.written {
			continue
		}
		entries = append(entries, inventory.Entry{ID: it.change.ID, Version: it.change.Version})
		if it.written && it.change.Action == plan.Created && it.change.ID.Group == "" && it.change.ID.Kind == "Namespace" {
			r.made[it.change.ID.Name] = true
		}
		switch {
		case it.settled:
			r.applied[it.uid] = it.change.ID
		case it.change.Live != nil:
			r.applied[it.change.Live.GetUID()] = it.change.ID
		}
		r.result.Changes = append(r.result.Changes, it.change)
	}
	r.result.Inventory = r.result.Inventory.Union(inventory.New(entries...))
}

func (r *run) tell(c plan.Change, err error) {
	if r.on == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on(c, err)
}

// tellFault tells of what is wrong with one object. A fault that would have met any is told once, by Apply's error.
func (r *run) tellFault(it *item) {
	if it.fault != nil && it.fault.Hop != fault.HopAPI {
		r.tell(it.change, it.fault)
	}
}

// clusterScoped tells a kind's scope: from the definitions that the plan itself brings, else from discovery. A kind that
// neither knows counts as namespaced, and fails later if it isn't served.
func (a *Applier) clusterScoped(p *plan.Plan) func(inventory.ID) bool {
	defined := definitions(p)
	asked := map[schema.GroupKind]bool{} // discovery is asked again for every kind that it does not know
	return func(id inventory.ID) bool {
		gk := id.GroupKind()
		if d, ok := defined[gk]; ok {
			return d.scope == "Cluster"
		}
		cluster, ok := asked[gk]
		if !ok {
			mapping, err := a.Mapper.RESTMapping(gk)
			cluster = err == nil && mapping.Scope.Name() == meta.RESTScopeNameRoot
			asked[gk] = cluster
		}
		return cluster
	}
}

// definition is what a CustomResourceDefinition says of its kind.
type definition struct {
	scope  string
	served []string // versions
}

type definedKinds map[schema.GroupKind]definition

// brings says whether one of the definitions makes the entry's kind and version served.
func (d definedKinds) brings(e inventory.Entry) bool {
	return slices.Contains(d[e.GroupKind()].served, e.Version)
}

// definitions returns the kinds that the plan's own CustomResourceDefinitions define.
func definitions(p *plan.Plan) definedKinds {
	kinds := definedKinds{}
	for _, stage := range p.Stages {
		if stage.Stage != inventory.Definitions {
			continue
		}
		for _, u := range stage.Objects {
			if u.GetKind() != "CustomResourceDefinition" {
				continue
			}
			var d definition
			var gk schema.GroupKind
			gk.Group, _, _ = unstructured.NestedString(u.Object, "spec", "group")
			gk.Kind, _, _ = unstructured.NestedString(u.Object, "spec", "names", "kind")
			d.scope, _, _ = unstructured.NestedString(u.Object, "spec", "scope")
			versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
			for _, v := range versions {
				if v, ok := v.(map[string]any); ok && v["served"] == true {
					name, _ := v["name"].(string)
					d.served = append(d.served, name)
				}
			}
			kinds[gk] = d
		}
	}
	return kinds
}

// absent says that an object cannot exist yet, because this run has made its namespace. What Kubernetes itself puts into
// every namespace is asked about like anything else.
func (r *run) absent(e inventory.Entry) bool {
	if e.Group == "" && (e.Kind == "ServiceAccount" && e.Name == "default" || e.Kind == "ConfigMap" && e.Name == "kube-root-ca.crt") {
		return false
	}
	return e.Namespace != "" && r.made[e.Namespace]
}

// alone is absent for the only object of a stage. With no other object to protect, applying it is the question and the
// answer in one, if it is news: it costs the server less to say that there is no such object than to rehearse making it.
func (r *run) alone(ctx context.Context) func(inventory.Entry) bool {
	return func(e inventory.Entry) bool {
		if r.absent(e) {
			return true
		}
		if r.plan.Old.Has(e.ID) {
			return false
		}
		if r.known.Absent(e.ID) {
			return true
		}
		t, err := r.target(e)
		if err != nil || t.namespaced && e.Namespace == "" {
			return false // whose fault that is, the dry-run tells
		}
		seen, err := t.look(ctx)
		return err == nil && seen == nil
	}
}
