package reconcile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"
	"weak"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
	"github.com/sluice-gitops/sluice/internal/render"
)

// memory is what this process remembers of a Kustomization between two attempts. Losing it costs work, never truth.
type memory struct {
	uid    types.UID
	status *kustomizev1.KustomizationStatus // as written last; newer than the cache's for some milliseconds
	unsure bool                             // the last write of a status failed: the server may hold what it sent

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

// recall asks the API server which status it holds, if the last write left that open.
func (k *Kustomizations) recall(ctx context.Context, name types.NamespacedName, m *memory) error {
	if !m.unsure {
		return nil
	}
	var held Kustomization
	if err := k.Reader.Get(ctx, name, &held); err != nil {
		return err
	}
	if held.UID == m.uid {
		m.status = &held.Status
	}
	m.unsure = false
	return nil
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
type reads struct {
	rendered, rules []render.Input
	same            weak.Pointer[sight] // a sight that holds all of it: most attempts are about the revision of the last
}

func (i *inputs) set(rendered, rules []render.Input, of *sight) {
	i.p.Store(&reads{rendered, rules, weak.Make(of)})
}

func (i *inputs) clear() { i.p.Store(nil) }

// unchangedIn says whether a revision holds, under every path that the last render read, what was there then.
func (i *inputs) unchangedIn(s *sight) bool {
	r := i.p.Load()
	switch {
	case r == nil:
		return false
	case r.same == weak.Make(s):
		return true
	case !render.Unchanged(s.artifact, r.rendered), len(r.rules) > 0 && !render.Unchanged(s.whole, r.rules):
		return false
	}
	i.p.CompareAndSwap(r, &reads{r.rendered, r.rules, weak.Make(s)}) // or they were cleared meanwhile
	return true
}

// writeStatus sends the difference to the status written last, if there is one. Hundreds of statuses tell of every
// commit, so neither the whole object is compared nor more than its metadata asked for in return.
func (k *Kustomizations) writeStatus(ctx context.Context, a *attempt) error {
	if err := k.recall(ctx, a.name, a.mem); err != nil {
		return client.IgnoreNotFound(err)
	}
	if equality.Semantic.DeepEqual(*a.mem.status, a.obj.Status) {
		return nil
	}
	patch, err := statusPatch(a.mem.status, &a.obj.Status)
	if err != nil {
		return err
	}
	target := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: a.obj.Namespace, Name: a.obj.Name}}
	target.SetGroupVersionKind(kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind))
	err = k.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(statusFieldManager))
	if err != nil {
		a.mem.unsure = true
		return client.IgnoreNotFound(err)
	}
	a.obj.Status.DeepCopyInto(a.mem.status)
	return nil
}

// statusPatch returns the merge patch that makes one status of another, field by field: lists are replaced whole.
func statusPatch(from, to *kustomizev1.KustomizationStatus) ([]byte, error) {
	old, err := fieldsOf(from)
	if err != nil {
		return nil, err
	}
	changed, err := fieldsOf(to)
	if err != nil {
		return nil, err
	}
	for name, value := range old {
		now, ok := changed[name]
		switch {
		case !ok:
			changed[name] = json.RawMessage("null")
		case bytes.Equal(now, value):
			delete(changed, name)
		}
	}
	return json.Marshal(map[string]any{"status": changed})
}

func fieldsOf(s *kustomizev1.KustomizationStatus) (map[string]json.RawMessage, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	fields := map[string]json.RawMessage{}
	return fields, json.Unmarshal(data, &fields)
}
