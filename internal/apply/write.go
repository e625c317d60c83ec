package apply

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// write carries out one change and keeps the API server's answer in it.
func (a *Applier) write(ctx context.Context, p *plan.Plan, it *item) *fault.Fault {
	var err error
	switch it.change.Action {
	case plan.Replaced:
		err = a.clear(ctx, it)
	case plan.Configured:
		err = a.takeOver(ctx, p, it)
	}
	if err == nil && it.fault == nil && it.change.Writes() {
		var live *unstructured.Unstructured
		body := it.body
		if it.yield != nil {
			body = it.yield
		}
		ctx, r := watched(ctx)
		if live, err = a.apply(ctx, it.target, body); err == nil {
			it.change.Live, it.written = live, true
			a.warned(&it.change, r)
		}
	}
	if err != nil {
		return a.explain(fault.HopApply, it.change.ID, err)
	}
	a.left(p.Owner, it)
	it.change.Live = public(it.change.Live)
	return it.fault
}

// clear deletes the object that stands in the way, and waits until it is gone.
func (a *Applier) clear(ctx context.Context, it *item) error {
	var seen metav1.Object = it.change.Live
	err := it.target.remove(ctx, seen)
	for try := 1; apierrors.IsConflict(err) && try < 5; try++ { // its status was written meanwhile, say
		now, lookErr := it.target.look(ctx)
		if lookErr != nil || now == nil || now.UID != seen.GetUID() {
			return lookErr
		}
		err = it.target.remove(ctx, now)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.StageTimeout)
	defer cancel()
	return it.target.gone(ctx, seen.GetUID())
}

// takeOver makes the fields of kubectl and its like ours, so that those that left the manifest vanish with the apply
// that follows, and removes what such tools left in the metadata. It rests on the dry-run's view of the object, and is
// locked to it: if someone else writes in between, the object is tried anew.
func (a *Applier) takeOver(ctx context.Context, p *plan.Plan, it *item) error {
	for try := 1; ; try++ {
		body, err := a.takeOverPatch(p, it)
		if err != nil || body == nil {
			return err
		}
		_, err = it.target.objects.Patch(ctx, it.target.name, types.JSONPatchType, body, metav1.PatchOptions{FieldManager: a.FieldManager})
		if !apierrors.IsConflict(err) || try == 3 {
			return err
		}
		if a.try(ctx, p, it, false); it.fault != nil || it.change.Action != plan.Configured {
			return nil // the fault is in the item; anything else than a takeover needs no patch
		}
	}
}

type patchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// takeOverPatch returns the patch, or nil if there is nothing to take over.
func (a *Applier) takeOverPatch(p *plan.Plan, it *item) ([]byte, error) {
	var ops []patchOp
	if len(it.change.TakeOver) > 0 {
		entries, err := absorb(it.merged.GetManagedFields(), p.Managers(), a.FieldManager)
		if err != nil {
			return nil, err
		}
		if entries != nil {
			ops = append(ops, patchOp{"replace", managedFields, entries})
		}
	}
	for _, l := range it.change.Remove {
		ops = append(ops, patchOp{Op: "remove", Path: "/metadata/" + l.Field + "/" + strings.ReplaceAll(l.Key, "/", "~1")})
	}
	if len(ops) == 0 {
		return nil, nil
	}
	ops = append(ops, patchOp{"replace", "/metadata/resourceVersion", it.lock})
	return json.Marshal(ops)
}

// dryRunSoon makes the dry-run of an object whose kind is established, but not routed to yet.
func (a *Applier) dryRunSoon(ctx context.Context, it *item) (u *unstructured.Unstructured, r *reply, err error) {
	again := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		u, r, err = a.dryRun(ctx, it.target, it.body)
		return !unrouted(err), nil
	})
	if err == nil {
		err = again
	}
	return u, r, err
}

// metadataOnly gives the plan an object of which only the metadata was read.
func metadataOnly(m *metav1.PartialObjectMetadata) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetName(m.Name)
	u.SetNamespace(m.Namespace)
	u.SetUID(m.UID)
	u.SetResourceVersion(m.ResourceVersion)
	u.SetLabels(m.Labels)
	u.SetAnnotations(m.Annotations)
	return u
}
