package reconcile

import (
	"context"
	"slices"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	ctrlsource "sigs.k8s.io/controller-runtime/pkg/source"
)

// asked passes updates that ask for work: an edited spec, a deletion, a new reconcile request. Our own status writes
// do not pass.
func asked() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, _ := meta.ReconcileAnnotationValue(e.ObjectOld.GetAnnotations())
		after, _ := meta.ReconcileAnnotationValue(e.ObjectNew.GetAnnotations())
		return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || before != after ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}
}

// verdictChanged passes updates in which the Ready condition or the applied revision moved: what a dependent waits for.
func verdictChanged() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := verdict(e.ObjectOld), verdict(e.ObjectNew)
			return before != after
		},
	}
}

// sourceFailed passes updates in which a source became not ready. That it became ready, Revisions.Moved tells.
func sourceFailed() predicate.Predicate {
	p := verdictChanged().(predicate.Funcs)
	changed := p.UpdateFunc
	p.UpdateFunc = func(e event.UpdateEvent) bool {
		return changed(e) && verdict(e.ObjectNew).ready == metav1.ConditionFalse
	}
	return p
}

type verdictOf struct {
	ready    metav1.ConditionStatus
	revision string
	observed int64
}

func verdict(o client.Object) verdictOf {
	status := func(list []metav1.Condition) metav1.ConditionStatus {
		if c := apimeta.FindStatusCondition(list, meta.ReadyCondition); c != nil {
			return c.Status
		}
		return ""
	}
	switch o := o.(type) {
	case *Kustomization:
		return verdictOf{status(o.Status.Conditions), o.Status.LastAppliedRevision, o.Status.ObservedGeneration}
	case *sourcev1.GitRepository:
		return verdictOf{ready: status(o.Status.Conditions), observed: o.Status.ObservedGeneration}
	}
	return verdictOf{}
}

// setup registers the GitRepository controller.
func (g *GitRepositories) setup(mgr ctrl.Manager, concurrent int) error {
	g.lanes = newLanes(concurrent)
	return ctrl.NewControllerManagedBy(mgr).Named("gitrepository").
		For(&sourcev1.GitRepository{}, builder.WithPredicates(asked())).
		Watches(&sourcev1.GitRepository{}, g.wakeIncluding(), builder.WithPredicates(artifactChanged())).
		WithOptions(controllerOptions(concurrent * laneWidth)).
		Complete(g)
}

// setup registers the Kustomization controller, woken by its own objects, by revisions that moved, by sources whose
// verdict changed and by dependencies whose verdict changed.
func (k *Kustomizations) setup(ctx context.Context, mgr ctrl.Manager, concurrent int) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &Kustomization{}, indexSource, indexBySource); err != nil {
		return err
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &Kustomization{}, indexDependsOn, indexByDependency); err != nil {
		return err
	}
	held := predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
	seen := make(chan event.TypedGenericEvent[drifted], 64)
	if err := mgr.Add(manager.RunnableFunc(func(ctx context.Context) error { k.followLive(ctx, seen); return nil })); err != nil {
		return err
	}
	users, dependents := k.enqueueBy(indexSource), k.enqueueBy(indexDependsOn)
	b := ctrl.NewControllerManagedBy(mgr).Named("kustomization").
		For(&Kustomization{}, builder.WithPredicates(asked())).
		Watches(&Kustomization{}, dependents, builder.WithPredicates(verdictChanged())).
		Watches(&Kustomization{}, k.enqueueHeld(), builder.WithPredicates(held)).
		Watches(&sourcev1.GitRepository{}, users, builder.WithPredicates(sourceFailed())).
		WatchesRawSource(ctrlsource.Channel(k.Revisions.Moved(), k.changedFirst())).
		WatchesRawSource(ctrlsource.TypedChannel(seen, putRight())).
		WithOptions(controllerOptions(concurrent))
	if err := k.watchConfigs(ctx, mgr, b); err != nil {
		return err
	}
	return b.Complete(k)
}

// enqueueBy maps an object to the Kustomizations that name it under an index.
func (k *Kustomizations) enqueueBy(index string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []ctrl.Request {
		var list KustomizationList
		key := o.GetNamespace() + "/" + o.GetName()
		if err := k.List(ctx, &list, client.MatchingFields{index: key}); err != nil {
			k.Log.Error("list dependents", "of", key, "error", err)
			return nil
		}
		reqs := make([]ctrl.Request, len(list.Items))
		for i := range list.Items {
			reqs[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
		}
		return reqs
	})
}

// enqueueHeld maps a Kustomization that changed in any way to those whose readyExpr about it did not hold.
func (k *Kustomizations) enqueueHeld() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) (reqs []ctrl.Request) {
		k.blocked.Range(func(name, dependencies any) bool {
			if slices.Contains(dependencies.([]string), o.GetNamespace()+"/"+o.GetName()) {
				reqs = append(reqs, ctrl.Request{NamespacedName: name.(types.NamespacedName)})
			}
			return true
		})
		return reqs
	})
}

// controllerOptions lets several managers live in one process, as they do in tests.
func controllerOptions(concurrent int) controller.Options {
	again := true
	return controller.Options{MaxConcurrentReconciles: concurrent, SkipNameValidation: &again, RateLimiter: retryAfterOutage[ctrl.Request]()}
}
