package reconcile

import (
	"context"
	"sync/atomic"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/source"
)

// memory is what this process remembers of a Kustomization between two attempts. Losing it costs work, never truth.
type memory struct {
	uid    types.UID
	status *kustomizev1.KustomizationStatus // as written last; newer than the cache's for some milliseconds

	settled    bool              // the last attempt ended well
	generation int64             // of the spec that it applied
	revision   string            // that it applied
	inputs     inputs            // what was read to render it
	digest     string            // of what that render gave
	digests    map[string]string // digest computed here → as the history has it
	applied    []inventory.Entry // what that apply left in the cluster
	vault      bool              // that render asked a cloud for a data key
	keys       string            // fingerprint of the decryption Secret that it read; empty: none
	checkAt    time.Time         // when what no watch vouches for is to be compared again
	verifyAt   time.Time         // when everything is, as a safety net

	drifted atomic.Bool // a watch has shown that the cluster is not as it was left
	pending atomic.Bool // waiting for objects to become healthy

	blockedSince time.Time // when a dependency was first found not ready; zero: none is
	waiting      *waiting  // applied, not healthy yet
	terminating  time.Time // when everything was deleted of a Kustomization that waits for its objects' end
}

// memory returns the memory of obj, a new one when the object is another of the same name.
func (k *Kustomizations) memory(obj *Kustomization) *memory {
	name := client.ObjectKeyFromObject(obj)
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.memories[name]
	if m == nil || m.uid != obj.UID {
		m = &memory{uid: obj.UID}
		k.memories[name] = m
	}
	return m
}

func (k *Kustomizations) forget(name types.NamespacedName) {
	k.mu.Lock()
	delete(k.memories, name)
	k.mu.Unlock()
	k.retries.reset(name)
	k.blocked.Delete(name)
	k.drifts.forget(name)
	k.live.Ignoring(plan.Owner{Name: name.Name, Namespace: name.Namespace}, nil)
	k.live.Forget(plan.Owner{Name: name.Name, Namespace: name.Namespace})
	unmeasure(kustomizev1.KustomizationKind, name)
	tokens.forget(involved{kustomizev1.KustomizationKind, name.Namespace, name.Name, kustomizev1.MetricDecryptWithAzure})
}

// restore puts the status that was written last in the place of the cache's. We are its only writer.
func (m *memory) restore(obj *Kustomization) {
	if m.status != nil {
		m.status.DeepCopyInto(&obj.Status)
		return
	}
	m.status = obj.Status.DeepCopy()
}

// sameInputs says whether tree holds, under every path that the last render read, what it held then.
func (m *memory) sameInputs(tree source.Tree) bool {
	return m.inputs.unchangedIn(tree)
}

// verifyDue says that it is time to ask the API server about every object, whatever the watches say: the safety net.
func (m *memory) verifyDue(now time.Time) bool {
	return !m.verifyAt.IsZero() && !now.Before(m.verifyAt)
}

// inputs is what the last render read; nothing while one is under way. The event handlers read it beside the worker.
type inputs struct {
	p atomic.Pointer[reads]
}

// reads is what was read of the artifact, and what of the rules that are no part of it.
type reads struct{ rendered, rules []render.Input }

func (i *inputs) set(rendered, rules []render.Input) { i.p.Store(&reads{rendered, rules}) }

func (i *inputs) clear() { i.p.Store(nil) }

func (i *inputs) unchangedIn(tree source.Tree) bool {
	r := i.p.Load()
	return r != nil && render.Unchanged(source.Artifact(tree), r.rendered) &&
		(len(r.rules) == 0 || render.Unchanged(source.Whole(tree), r.rules))
}

// writeStatus sends the difference to the status written last, if there is one.
func (k *Kustomizations) writeStatus(ctx context.Context, a *attempt) error {
	if equality.Semantic.DeepEqual(*a.mem.status, a.obj.Status) {
		return nil
	}
	base := a.obj.DeepCopy()
	a.mem.status.DeepCopyInto(&base.Status)
	target := a.obj.DeepCopy() // the client writes the server's answer into it
	err := k.Status().Patch(ctx, target, client.MergeFrom(base), client.FieldOwner(statusFieldManager))
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	a.obj.Status.DeepCopyInto(a.mem.status)
	return nil
}
