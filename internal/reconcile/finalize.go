package reconcile

import (
	"context"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-gitops/sluice/internal/apply"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// finalTimeout bounds the pruning of a deleted Kustomization; what is left is tried again.
const finalTimeout = 2 * time.Minute

// How a Kustomization waits for the end of what it has deleted: most objects are gone within finalLook, and what takes
// longer, a worker is not held for.
const (
	finalLook  = 500 * time.Millisecond
	finalPause = 2 * time.Second
)

// finalize prunes what a deleted Kustomization owned, as its deletion policy says, and lets it go. It needs neither a
// source nor a key. A suspended one takes nothing with it, as in Flux.
func (k *Kustomizations) finalize(ctx context.Context, obj *Kustomization, mem *memory) (ctrl.Result, error) {
	name := client.ObjectKeyFromObject(obj)
	if !controllerutil.ContainsFinalizer(obj, finalizer) {
		return ctrl.Result{}, nil
	}
	flux := &kustomizev1.Kustomization{Spec: obj.Spec.KustomizationSpec}
	policy := flux.GetDeletionPolicy()
	deletes := policy == kustomizev1.DeletionPolicyDelete || policy == kustomizev1.DeletionPolicyWaitForTermination ||
		policy == kustomizev1.DeletionPolicyMirrorPrune && obj.Spec.Prune
	if deletes && !obj.Spec.Suspend {
		wait := time.Duration(0)
		if policy == kustomizev1.DeletionPolicyWaitForTermination {
			wait = finalLook
		}
		left, going, err := k.pruneAll(ctx, obj, wait)
		if err == nil && len(going) > 0 {
			now := k.Options.now()
			if mem.terminating.IsZero() {
				mem.terminating = now
			}
			if rest := mem.terminating.Add(flux.GetTimeout()).Sub(now); rest > 0 {
				k.Log.Debug("objects are still there", "kustomization", name.String(), "left", displayed(going), "patience", rest.String())
				return ctrl.Result{RequeueAfter: min(rest, finalPause)}, nil
			}
			k.letGo(obj, going, flux.GetTimeout())
		}
		if gone := k.nobodyLeft(ctx, obj); err != nil && gone != "" {
			k.tellLeft(obj, left, gone)
			err = nil
		}
		if err != nil {
			a := &attempt{name: name, obj: obj, mem: mem, cond: conditions{&obj.Status.Conditions, obj.Generation}}
			obj.Status.Inventory = left.Status()
			reason := reasonOf(err, meta.PruneFailedReason)
			a.cond.failed(reason, err.Error())
			k.Events.warning(obj, obj.Status.LastAppliedRevision, reason, err.Error())
			k.Log.Error("prune failed", "kustomization", name.String(), "error", err)
			if err := k.writeStatus(ctx, a); err != nil {
				return ctrl.Result{}, err
			}
			return ctrl.Result{RequeueAfter: k.retries.next(name, obj.Spec.Interval.Duration)}, nil
		}
	}
	k.forget(name)
	base := obj.DeepCopy()
	controllerutil.RemoveFinalizer(obj, finalizer)
	err := k.Patch(ctx, obj, client.MergeFrom(base), client.FieldOwner(statusFieldManager))
	return ctrl.Result{}, client.IgnoreNotFound(err)
}

// nobodyLeft says what is missing of whom obj's objects could be deleted as: the ServiceAccount to impersonate or the
// kubeconfig. Its owner deleted it first, as when a namespace goes, and will not bring it back; as in Flux, the objects
// then stay and the Kustomization goes.
func (k *Kustomizations) nobodyLeft(ctx context.Context, obj *Kustomization) string {
	missing := func(name string, o client.Object) string {
		if apierrors.IsNotFound(k.Reader.Get(ctx, client.ObjectKey{Namespace: obj.Namespace, Name: name}, o)) {
			return name
		}
		return ""
	}
	switch ref := obj.Spec.KubeConfig; {
	case ref != nil && ref.SecretRef != nil:
		return missing(ref.SecretRef.Name, &corev1.Secret{})
	case ref != nil && ref.ConfigMapRef != nil:
		return missing(ref.ConfigMapRef.Name, &corev1.ConfigMap{})
	case k.serviceAccount(obj) != "":
		return missing(k.serviceAccount(obj), &corev1.ServiceAccount{})
	}
	return ""
}

// tellLeft names what stays in the cluster without an owner.
func (k *Kustomizations) tellLeft(obj *Kustomization, left inventory.Set, gone string) {
	names := displayed(left.Entries())
	text := gone + " is gone, and with it the right to delete these objects, which stay:\n" + strings.Join(names, "\n")
	k.Log.Error("prune skipped", "kustomization", obj.Namespace+"/"+obj.Name, "left", names, "missing", gone)
	k.Events.warning(obj, obj.Status.LastAppliedRevision, meta.PruneFailedReason, text)
}

// letGo tells of objects that were deleted and did not end in time. As in Flux, the Kustomization waits no longer.
func (k *Kustomizations) letGo(obj *Kustomization, going []inventory.Entry, after time.Duration) {
	names := displayed(going)
	k.Log.Error("objects did not end in time", "kustomization", obj.Namespace+"/"+obj.Name, "left", names, "timeout", after.String())
	k.Events.warning(obj, obj.Status.LastAppliedRevision, meta.PruneFailedReason, "failed to wait for resources termination: these are deleted, and still there after "+
		after.String()+"; a finalizer holds them:\n"+strings.Join(names, "\n"))
}

func displayed(entries []inventory.Entry) []string {
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Display()
	}
	return names
}

// pruneAll deletes everything in the inventory. It returns what could not be deleted, and what was and is still there
// after wait.
func (k *Kustomizations) pruneAll(ctx context.Context, obj *Kustomization, wait time.Duration) (left inventory.Set, going []inventory.Entry, err error) {
	all, err := inventory.FromStatus(obj.Status.Inventory)
	if err != nil || all.Len() == 0 {
		return all, nil, err
	}
	target, err := k.target(ctx, obj)
	if err != nil {
		return all, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, finalTimeout)
	defer cancel()
	applier := target.applier
	if obj.Spec.KubeConfig == nil {
		applier = applier.Knowing(k.live)
	}
	result, err := applier.Prune(ctx, all, plan.Owner{Name: obj.Name, Namespace: obj.Namespace}, apply.PruneOptions{Wait: wait}, nil)
	if err == nil {
		if summary := summarize(result.Changed()); summary != "" {
			k.Log.Info("deleted", "kustomization", obj.Namespace+"/"+obj.Name, "changes", summary)
			k.Events.normal(obj, obj.Status.LastAppliedRevision, meta.ReconciliationSucceededReason, summary)
		}
	}
	return result.Inventory, result.Terminating, err
}
