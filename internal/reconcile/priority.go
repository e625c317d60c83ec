package reconcile

import (
	"context"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
)

// priorityChanged puts the Kustomizations that a new revision changes before those for which it only has another name.
const priorityChanged = 10

// ordinary is the rank of everything else. It is given back with every result: the queue would otherwise keep the rank
// of one commit for the next.
var ordinary = 0

// changedFirst enqueues the users of a source whose revision moved. With hundreds of them the one that the commit was
// made for would otherwise wait behind those that have nothing to do.
func (k *Kustomizations) changedFirst() handler.EventHandler {
	return handler.Funcs{GenericFunc: func(ctx context.Context, e event.GenericEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
		var list KustomizationList
		name := client.ObjectKeyFromObject(e.Object)
		if err := k.List(ctx, &list, client.MatchingFields{indexSource: name.String()}); err != nil {
			k.Log.Error("list the users of a source", "source", name.String(), "error", err)
			return
		}
		// A worker takes the first as soon as it is there, so rank alone would come too late.
		var changed, others []ctrl.Request
		for i := range list.Items {
			req := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])}
			if k.changes(&list.Items[i]) {
				changed = append(changed, req)
			} else {
				others = append(others, req)
			}
		}
		enqueue(q, priorityChanged, changed)
		enqueue(q, ordinary, others)
	}}
}

func enqueue(q workqueue.TypedRateLimitingInterface[ctrl.Request], priority int, reqs []ctrl.Request) {
	if ranked, ok := q.(priorityqueue.PriorityQueue[ctrl.Request]); ok {
		ranked.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, reqs...)
		return
	}
	for _, r := range reqs {
		q.Add(r)
	}
}

// changes says whether the source's current revision holds something new for obj. What was never rendered is new.
func (k *Kustomizations) changes(obj *Kustomization) bool {
	k.mu.Lock()
	m := k.memories[client.ObjectKeyFromObject(obj)]
	k.mu.Unlock()
	rev := k.Revisions.Get(sourceOf(obj))
	return m == nil || rev == nil || m.uid != obj.UID || !m.inputs.unchangedIn(k.Revisions.sight(rev))
}
