// Package plan decides what has to happen to each object: desired state, live state and the old inventory in, ordered
// changes with a reason each out.
//
// It is pure: no client, no clock, no order of its own beyond inventory's. It stands between render (which says what is
// wanted) and apply (which asks the API server and writes). It refuses sets that cannot be applied as one (objects
// without a name, two manifests for one object), and it never prunes what its owner cannot be shown to own.
//
// The decision is taken in two steps, because a later stage can be asked about only when an earlier one stands: New
// orders the work, Decide and DecidePrune judge one object each, once its live state is known.
//
//	manifest says skip ───────────────────────────────────────────────→ skipped
//	live object says skip, or exists and the manifest says IfNotPresent → skipped
//	dry-run refused: immutable field, and force ──────────────────────→ replaced     otherwise the error
//	dry-run made a new object ────────────────────────────────────────→ created
//	dry-run changed something, or kubectl owns fields ────────────────→ configured
//	dry-run changed nothing ──────────────────────────────────────────→ unchanged
package plan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/inventory"
)

// Options are the fields of a Kustomization's spec that bear on its plan.
type Options struct {
	Owner    Owner
	Force    bool                      // spec.force: replace objects whose immutable fields differ
	Prune    bool                      // spec.prune
	Ignore   Ignore                    // spec.ignore
	TakeOver []Manager                 // whose fields are taken over; TakenOver if nil
	Early    map[schema.GroupKind]bool // kinds with a stage of their own before the resources
}

// Stage is what is applied in one round, in order.
type Stage struct {
	Stage   inventory.Stage
	Objects []*unstructured.Unstructured
}

// Plan is the ordered work of one reconcile.
type Plan struct {
	Options
	Stages []Stage       // never empty ones
	Old    inventory.Set // what was owned before
	New    inventory.Set // what is wanted now, skipped objects included
}

// New orders the desired objects, which must bear their owner's labels (Own) and are not changed. Every fault in the set
// is reported at once.
func New(desired []*unstructured.Unstructured, old inventory.Set, opts Options) (*Plan, error) {
	if err := validate(desired); err != nil {
		return nil, err
	}
	sorted := slices.Clone(desired)
	slices.SortStableFunc(sorted, func(a, b *unstructured.Unstructured) int {
		x, y := inventory.IDOf(a), inventory.IDOf(b)
		return cmp.Or(cmp.Compare(opts.stage(x), opts.stage(y)), inventory.Compare(x, y))
	})
	p := &Plan{Options: opts, Old: old, New: inventory.Of(sorted)}
	for _, u := range sorted {
		stage := opts.stage(inventory.IDOf(u))
		if n := len(p.Stages); n == 0 || p.Stages[n-1].Stage != stage {
			p.Stages = append(p.Stages, Stage{Stage: stage})
		}
		last := &p.Stages[len(p.Stages)-1]
		last.Objects = append(last.Objects, u)
	}
	return p, nil
}

// stage is the round that an object is applied in.
func (o Options) stage(id inventory.ID) inventory.Stage {
	if s := id.Stage(); s != inventory.Resources || !o.Early[id.GroupKind()] {
		return s
	}
	return inventory.Early
}

// Union returns what must be in the inventory before anything is written: the old and the new set.
func (p *Plan) Union() inventory.Set { return p.Old.Union(p.New) }

// Stale returns what left the desired set, in apply order; nothing if the Kustomization does not prune.
func (p *Plan) Stale() inventory.Set {
	if !p.Prune {
		return inventory.Set{}
	}
	return p.Old.Diff(p.New)
}

func validate(desired []*unstructured.Unstructured) error {
	var faults []error
	refuse := func(code, object, seen, fix string) {
		faults = append(faults, &fault.Fault{
			Code: code, Hop: fault.HopApply, Object: object, Seen: seen, Fix: fix, Reason: "ReconciliationFailed",
		})
	}
	seen := map[inventory.ID]bool{}
	for i, u := range desired {
		id := inventory.IDOf(u)
		switch {
		case u.GetAPIVersion() == "" || id.Kind == "" || id.Name == "":
			refuse("SLU-APPLY-018", fmt.Sprintf("object %d (%s)", i+1, id.Display()), "the manifest lacks apiVersion, kind or metadata.name",
				"Give the manifest an apiVersion, a kind and a metadata.name.")
		case seen[id]:
			refuse("SLU-APPLY-015", id.Display(), "two manifests describe this object",
				"Remove one of the two manifests, or give one another name or namespace.")
		}
		seen[id] = true
	}
	return errors.Join(faults...)
}

// Scoped returns the plan with the namespace taken off objects whose kind is cluster-scoped: kustomize's namespace
// transformer knows the scope of built-in kinds only, and the API server drops it silently, so that the inventory would
// name an object that doesn't exist.
func (p *Plan) Scoped(clusterScoped func(inventory.ID) bool) (*Plan, error) {
	var desired []*unstructured.Unstructured
	changed := false
	for _, stage := range p.Stages {
		for _, u := range stage.Objects {
			if u.GetNamespace() != "" && clusterScoped(inventory.IDOf(u)) {
				u = u.DeepCopy()
				u.SetNamespace("")
				changed = true
			}
			desired = append(desired, u)
		}
	}
	if !changed {
		return p, nil
	}
	return New(desired, p.Old, p.Options)
}
