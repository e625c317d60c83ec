package reconcile

import (
	"context"

	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// dependencies answers whether every Kustomization in spec.dependsOn is done. Flux's rule: it has seen its current
// generation, it is Ready and, when both read the same source, it has applied the same revision. A readyExpr takes the
// place of that rule, or is asked besides it when the gate AdditiveCELDependencyCheck is open.
func (k *Kustomizations) dependencies(ctx context.Context, obj *Kustomization, revision string, r *rules) error {
	k.blocked.Delete(client.ObjectKeyFromObject(obj))
	for i, d := range obj.Spec.DependsOn {
		name := types.NamespacedName{Namespace: d.Namespace, Name: d.Name}
		if name.Namespace == "" {
			name.Namespace = obj.Namespace
		}
		var dep Kustomization
		if err := k.Get(ctx, name, &dep); err != nil {
			if !apierrors.IsNotFound(err) {
				return err
			}
			return dependencyFault(obj, name, "does not exist",
				"kubectl get kustomizations -A, and correct spec.dependsOn or add the missing Kustomization")
		}
		if e := r.ready[i]; e != nil {
			if err := k.readyByExpr(ctx, e, obj, &dep); err != nil {
				return err
			}
			if !k.Options.Features.On(AdditiveCELDependencyCheck) {
				continue
			}
		}
		ready := apimeta.FindStatusCondition(dep.Status.Conditions, meta.ReadyCondition)
		show := "sluice get kustomizations " + name.Name + " -n " + name.Namespace
		switch {
		case ready == nil || dep.Status.ObservedGeneration != dep.Generation:
			return dependencyFault(obj, name, "was not reconciled yet", "wait, or look with: "+show)
		case ready.Status != "True":
			return dependencyFault(obj, name, "is not ready ("+ready.Reason+")", "mend that one first; look with: "+show)
		case sourceOf(&dep) == sourceOf(obj) && dep.Status.LastAppliedRevision != revision:
			return dependencyFault(obj, name, "has not applied revision "+revision+" yet", "wait, or look with: "+show)
		}
	}
	return nil
}

func (k *Kustomizations) readyByExpr(ctx context.Context, e *expression, obj, dep *Kustomization) error {
	name := client.ObjectKeyFromObject(dep)
	ready, err := readyBy(ctx, e, obj, dep)
	if err == nil && ready {
		return nil
	}
	k.blocked.Store(client.ObjectKeyFromObject(obj), indexByDependency(obj))
	seen := "does not satisfy readyExpr"
	if err != nil {
		seen = "cannot be judged by readyExpr: " + err.Error()
	}
	return dependencyFault(obj, name, seen, "wait, or compare the expression with: kubectl get kustomization "+name.Name+" -n "+name.Namespace+" -o yaml")
}

func dependencyFault(obj *Kustomization, dep types.NamespacedName, seen, fix string) error {
	return &fault.Fault{
		Code: "SLU-DEPENDENCY-001", Hop: fault.HopDependency, Object: "Kustomization/" + obj.Namespace + "/" + obj.Name,
		Seen: "dependency '" + dep.String() + "' is not ready", Why: "Kustomization/" + dep.String() + " " + seen,
		Fix: fix, Reason: meta.DependencyNotReadyReason,
	}
}

// sourceOf is the identity of the source that a Kustomization reads.
func sourceOf(obj *Kustomization) sourceKey {
	ref := obj.Spec.SourceRef
	if ref.Namespace == "" {
		return keyOf(ref.Kind, obj.Namespace, ref.Name)
	}
	return keyOf(ref.Kind, ref.Namespace, ref.Name)
}

// Index keys under which the cache finds Kustomizations by what they refer to.
const (
	indexSource    = "sluice.source"
	indexDependsOn = "sluice.dependsOn"
)

func indexBySource(o client.Object) []string {
	return []string{sourceOf(o.(*Kustomization)).NamespacedName.String()}
}

func indexByDependency(o client.Object) []string {
	obj := o.(*Kustomization)
	var names []string
	for _, d := range obj.Spec.DependsOn {
		ns := d.Namespace
		if ns == "" {
			ns = obj.Namespace
		}
		names = append(names, types.NamespacedName{Namespace: ns, Name: d.Name}.String())
	}
	return names
}
