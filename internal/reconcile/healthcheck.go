package reconcile

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/health"
	"github.com/sluice-gitops/sluice/internal/inventory"
)

const (
	healthPoll     = time.Second      // between two looks at objects that no watch shows
	healthSafety   = 10 * time.Second // between two looks at objects whose changes a watch tells
	healthParallel = 16               // reads at a time
)

// waiting is a Kustomization whose objects are applied and not all healthy yet. It holds no worker: each look is one
// short attempt.
type waiting struct {
	revision   string
	generation int64
	demandedAt string // the reconcile request that stood when the wait began
	demanded   bool   // it was this wait's to serve
	objects    []inventory.Entry
	since      time.Time
	deadline   time.Time
	summary    string // of the changes that were applied
	reader     client.Reader
	rules      *rules
}

// stillFor says whether the attempt has nothing to add to what is being waited for.
func (w *waiting) stillFor(a *attempt) bool {
	at, _ := meta.ReconcileAnnotationValue(a.obj.Annotations)
	return w != nil && w.revision == a.rev.Name && w.generation == a.obj.Generation && w.demandedAt == at
}

// expect makes the attempt wait for objects, if its spec asks for that: all of them with spec.wait, else those that
// spec.healthChecks names.
func (a *attempt) expect(applied []inventory.Entry, reader client.Reader, summary string) {
	objects := applied
	if !a.obj.Spec.Wait {
		objects = nil
		for _, c := range a.obj.Spec.HealthChecks {
			gv, err := schema.ParseGroupVersion(c.APIVersion)
			if err != nil {
				continue // refused by the API server's schema
			}
			ns := c.Namespace
			if ns == "" {
				ns = a.obj.Namespace
			}
			objects = append(objects, inventory.Entry{
				ID: inventory.ID{Namespace: ns, Name: c.Name, Group: gv.Group, Kind: c.Kind}, Version: gv.Version,
			})
		}
	}
	objects = slices.DeleteFunc(slices.Clone(objects), a.isSelf)
	if len(objects) == 0 {
		a.cond.drop(meta.HealthyCondition)
		return
	}
	at, _ := meta.ReconcileAnnotationValue(a.obj.Annotations)
	since := a.since
	if since.IsZero() {
		since = a.started
	}
	a.mem.pending.Store(true)
	a.mem.waiting = &waiting{
		revision: a.rev.Name, generation: a.obj.Generation, demandedAt: at, demanded: a.demanded, objects: objects,
		since: since, deadline: since.Add(a.flux.GetTimeout()), summary: summary, reader: reader, rules: a.rules,
	}
}

// isSelf says whether o is the Kustomization itself, which cannot become ready before it stops waiting.
func (a *attempt) isSelf(o inventory.Entry) bool {
	return o.Kind == kustomizev1.KustomizationKind && o.Name == a.name.Name && o.Namespace == a.name.Namespace
}

// checkHealth looks once. It ends the attempt when all objects are healthy, when one has failed for good, or when the
// time is over; otherwise it asks for another look.
func (k *Kustomizations) checkHealth(ctx context.Context, a *attempt) (time.Duration, error) {
	w := a.mem.waiting
	a.digest = a.mem.digest
	verdicts, told, err := k.look(ctx, w, a.obj.Spec.KubeConfig == nil)
	if err != nil {
		return 0, err
	}
	sum := health.Summarize(verdicts)
	switch {
	case sum.Healthy():
		a.mem.waiting = nil
		a.mem.pending.Store(false)
		a.demanded = a.demanded || w.demanded
		if c := apimeta.FindStatusCondition(*a.cond.list, meta.HealthyCondition); c == nil || c.Status != "True" || c.ObservedGeneration != a.obj.Generation {
			passed := "Health check passed in " + time.Since(w.since).Round(time.Millisecond).String()
			a.cond.set(meta.HealthyCondition, "True", meta.SucceededReason, passed)
			k.Events.step(a.obj, a.rev.Name, a.origin, passed)
		}
		return k.tellApplied(a, w.summary), nil
	case len(sum.Failed) > 0 && !k.Options.Features.On(DisableFailFastBehavior) || time.Now().After(w.deadline):
		f := &fault.Fault{
			Code: "SLU-HEALTH-001", Hop: fault.HopHealth, Object: "Kustomization/" + a.name.String(),
			Seen: "not healthy at revision " + a.rev.Name, Why: sum.String(), Reason: meta.HealthCheckFailedReason,
			Fix: "look at the object named first with kubectl describe",
		}
		if len(sum.Failed) == 0 {
			f.Code, f.Seen = "SLU-HEALTH-002", "not healthy within "+a.flux.GetTimeout().String()+" at revision "+a.rev.Name
		}
		return 0, f
	}
	a.cond.progressing("Running health checks for revision " + a.rev.Name + " with a timeout of " + a.flux.GetTimeout().String())
	a.cond.set(meta.HealthyCondition, "Unknown", meta.ProgressingReason, "Running health checks for revision "+a.rev.Name)
	if told {
		return healthSafety, nil
	}
	return healthPoll, nil
}

// tellCanceled tells that a newer revision ends a wait for health, as Flux does with its gate
// CancelHealthCheckOnNewRevision. The reason does not pass through the status: the next write says what came of it.
func (k *Kustomizations) tellCanceled(a *attempt) {
	if w := a.mem.waiting; w != nil && w.revision != a.rev.Name {
		src := sourceOf(a.obj)
		k.Events.normal(a.obj, w.revision, meta.HealthCheckCanceledReason, "Health checks canceled due to new reconciliation triggered by "+
			src.Kind+"/"+src.String())
	}
}

// look judges every object that is waited for: by what the watches show of it, else by reading it. told says that the
// watches showed all of them, and so will tell when one changes. They are of our own cluster.
func (k *Kustomizations) look(ctx context.Context, w *waiting, own bool) (verdicts []health.Verdict, told bool, err error) {
	verdicts = make([]health.Verdict, len(w.objects))
	var read atomic.Bool
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(healthParallel)
	for i, o := range w.objects {
		if v, known := k.live.Verdict(o.ID); own && known && !w.rules.about(o.ID) {
			verdicts[i] = v
			continue
		}
		g.Go(func() (err error) {
			defer func() { // in a goroutine nobody else could catch it, and an object may be what it panicked with
				if p := recover(); p != nil {
					err = fault.Panicked(p, fault.HopHealth, "SLU-BUG-004")
				}
			}()
			read.Store(true)
			u := &unstructured.Unstructured{}
			u.SetGroupVersionKind(schema.GroupVersionKind{Group: o.Group, Version: o.Version, Kind: o.Kind})
			err = w.reader.Get(ctx, client.ObjectKey{Namespace: o.Namespace, Name: o.Name}, u)
			if apierrors.IsNotFound(err) {
				u, err = nil, nil
			}
			verdicts[i] = w.rules.judge(ctx, o.ID, u)
			return err
		})
	}
	err = g.Wait()
	return verdicts, !read.Load(), err
}
