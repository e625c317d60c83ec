package reconcile

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/sluice-gitops/sluice/internal/live"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// Drift is put right as soon as a watch shows it. One that comes back again and again is somebody else's work, who
// will not give in either: the answers then grow apart, and an event says who it is.
const (
	driftCalm   = time.Minute      // without drift, a Kustomization's count starts over
	driftFight  = 5                // corrections within driftCalm of each other that make a fight
	driftSlow   = 10 * time.Second // first wait between two corrections in a fight; it doubles
	driftSlower = 5 * time.Minute  // the longest
)

// drifts paces the corrections of each Kustomization.
type drifts struct {
	mu  sync.Mutex
	of  map[types.NamespacedName]*driftCount
	now func() time.Time
}

type driftCount struct {
	count int
	last  time.Time // when the last one was answered, or is to be
}

func newDrifts() *drifts { return &drifts{of: map[types.NamespacedName]*driftCount{}, now: time.Now} }

// pace records a drift and returns how long to wait before it is put right, and whether this is a fight.
func (d *drifts) pace(name types.NamespacedName) (wait time.Duration, fight bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, c := d.now(), d.of[name]
	if c == nil || now.Sub(c.last) > max(driftCalm, 2*slowness(c.count)) {
		d.of[name] = &driftCount{count: 1, last: now}
		return 0, false
	}
	if c.last.After(now) { // an answer is due already; it takes this one along
		return c.last.Sub(now), false
	}
	c.count++
	if c.count <= driftFight {
		c.last = now
		return 0, false
	}
	wait = slowness(c.count)
	c.last = now.Add(wait)
	return wait, true
}

func slowness(count int) time.Duration {
	n := count - driftFight - 1
	switch {
	case n < 0:
		return 0
	case n > 10:
		return driftSlower
	}
	return min(driftSlow<<n, driftSlower)
}

func (d *drifts) forget(name types.NamespacedName) {
	d.mu.Lock()
	delete(d.of, name)
	d.mu.Unlock()
}

// drifted carries a drift from the live cache to the queue.
type drifted struct {
	name types.NamespacedName
	wait time.Duration
}

// followLive turns what the watches show into work until ctx ends: drift marks its owner and wakes it, at its pace; a
// verdict that moved wakes an owner that waits for it.
func (k *Kustomizations) followLive(ctx context.Context, out chan<- event.TypedGenericEvent[drifted]) {
	send := func(d drifted) {
		select {
		case out <- event.TypedGenericEvent[drifted]{Object: d}:
		case <-ctx.Done():
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-k.live.Drifts():
			name := types.NamespacedName{Namespace: d.Owner.Namespace, Name: d.Owner.Name}
			m := k.remembered(name)
			if m == nil {
				continue // not reconciled by this process yet: its first attempt compares everything
			}
			m.drifted.Store(true)
			wait, fight := k.drifts.pace(name)
			k.tellDrift(name, d, wait, fight)
			send(drifted{name, wait})
		case o := <-k.live.HealthMoved():
			name := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
			if m := k.remembered(name); m != nil && m.pending.Load() {
				send(drifted{name: name})
			}
		}
	}
}

func (k *Kustomizations) remembered(name types.NamespacedName) *memory {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.memories[name]
}

func (k *Kustomizations) tellDrift(name types.NamespacedName, d live.Drift, wait time.Duration, fight bool) {
	what := "changed"
	switch {
	case d.Deleted:
		what = "deleted"
	case d.Ending:
		what = "being deleted"
	}
	by := ""
	if d.Manager != "" {
		by = " by " + d.Manager
	}
	k.Log.Info("drift", "kustomization", name.String(), "object", d.ID.Display(), "what", what+by, "wait", wait.String())
	if !fight {
		return
	}
	obj := &Kustomization{}
	obj.Namespace, obj.Name = name.Namespace, name.Name
	if err := k.Get(context.Background(), name, obj); err == nil {
		k.Events.warning(obj, obj.Status.LastAppliedRevision, "DriftFight", d.ID.Display()+" is "+what+by+
			" again and again; it is put right at growing intervals, next in "+wait.String()+
			"; fix: stop the other writer, or leave the field to it: take it out of Git or annotate the object "+
			plan.KeySSA+": Merge")
	}
}

// putRight enqueues the owners of what drifted, before everything that merely has to be looked at.
func putRight() handler.TypedEventHandler[drifted, ctrl.Request] {
	return handler.TypedFuncs[drifted, ctrl.Request]{
		GenericFunc: func(_ context.Context, e event.TypedGenericEvent[drifted], q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
			req, priority := ctrl.Request{NamespacedName: e.Object.name}, priorityChanged
			if ranked, ok := q.(priorityqueue.PriorityQueue[ctrl.Request]); ok {
				ranked.AddWithOpts(priorityqueue.AddOpts{After: e.Object.wait, Priority: &priority}, req)
				return
			}
			q.AddAfter(req, e.Object.wait)
		},
	}
}

// ownerOf is obj as plans name it.
func ownerOf(obj client.Object) plan.Owner {
	return plan.Owner{Name: obj.GetName(), Namespace: obj.GetNamespace()}
}
