package reconcile

import (
	"context"
	"log/slog"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/live"
	"github.com/sluice-gitops/sluice/internal/source"
)

// applyFieldManager owns the fields that we apply, statusFieldManager the status and the finalizer: Flux's names for both.
const (
	applyFieldManager  = "kustomize-controller"
	statusFieldManager = "gotk-kustomize-controller"
)

// sourceGrace is the safety net behind Revisions.Moved for a Kustomization whose source has no revision yet.
const sourceGrace = 30 * time.Second

// dependencyPatience is how long a dependency that lags behind keeps a dependent's last verdict standing. Every commit
// reaches dependencies first; telling each time that they are a moment behind would make Ready flap.
const dependencyPatience = 3 * time.Second

// Kustomizations applies revisions.
type Kustomizations struct {
	client.Client
	Reader    client.Reader // uncached
	Options   Options
	Revisions *Revisions
	Ring      *keyring.Ring
	Events    recorder
	Log       *slog.Logger

	workload   workload         // the controller's own Azure identity
	identities objectIdentities // those of ServiceAccounts
	appliers   *appliers
	live       *live.Cache // of our own cluster
	drifts     *drifts
	keys       *keys
	retries    *backoff

	blocked sync.Map // name of each that a readyExpr holds back → its dependencies, any change of which may free it

	reconfigured sync.Map // names of those whose ConfigMaps or Secrets have changed

	mu       sync.Mutex
	memories map[types.NamespacedName]*memory
}

func newKustomizations(mgr ctrl.Manager, o Options, r *Revisions, ring *keyring.Ring, watches *live.Cache) *Kustomizations {
	vault, own := vaultSignIn{}, ownWorkload()
	if o.SOPSVaultConfigMap != "" {
		vault = vaultSignIn{mgr.GetAPIReader(), types.NamespacedName{Namespace: o.Namespace, Name: o.SOPSVaultConfigMap}}
		own.clouds.Vault, own.clouds.VaultErr = vault.own(mgr.GetClient()), nil
	}
	return &Kustomizations{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Options: o, Revisions: r, Ring: ring,
		workload: own, appliers: newAppliers(o.Config, mgr.GetRESTMapper(), o.Features.On(MigrateAPIVersion)), live: watches, drifts: newDrifts(), keys: newKeys(mgr.GetAPIReader()),
		identities: objectIdentities{transport: o.azure, clouds: accountClouds{google: o.cloud.google, vault: vault}},
		retries:    newBackoff(), memories: map[types.NamespacedName]*memory{},
	}
}

// attempt is one reconcile of one Kustomization.
type attempt struct {
	name     types.NamespacedName
	obj      *Kustomization             // status is edited here
	flux     *kustomizev1.Kustomization // spec with the deprecated fields folded in
	rev      *source.Revision
	mem      *memory
	cond     conditions
	rules    *rules // the spec's expressions
	demanded bool   // a reconcile was asked for by annotation: prove the whole chain, skip nothing
	started  time.Time
	since    time.Time           // when it began, if it goes on with a wait for health
	origin   string              // what the source says its revision was made of
	digest   string              // keyed, of what was rendered; empty before that
	stage    string              // condition reason of a failure that names none
	redact   func(string) string // hides the values that this attempt has seen in the clear
}

// Reconcile brings one Kustomization to its source's current revision.
func (k *Kustomizations) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var obj Kustomization
	if err := k.Get(ctx, req.NamespacedName, &obj); err != nil {
		if client.IgnoreNotFound(err) == nil {
			k.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	mem := k.memory(&obj)
	if err := k.recall(ctx, req.NamespacedName, mem); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	mem.restore(&obj) // the cache may still show a status older than the one written last
	if !obj.DeletionTimestamp.IsZero() {
		return k.finalize(ctx, &obj, mem)
	}
	if !controllerutil.ContainsFinalizer(&obj, finalizer) {
		base := obj.DeepCopy()
		controllerutil.AddFinalizer(&obj, finalizer)
		if err := k.Patch(ctx, &obj, client.MergeFrom(base), client.FieldOwner(statusFieldManager)); err != nil {
			return ctrl.Result{}, err
		}
		obj.Status = base.Status
	}
	if obj.Spec.Suspend {
		return ctrl.Result{}, k.suspended(ctx, &obj, mem)
	}
	a := &attempt{
		name: req.NamespacedName, obj: &obj, mem: mem, started: time.Now(), stage: meta.ReconciliationFailedReason,
		cond:   conditions{&obj.Status.Conditions, obj.Generation},
		redact: func(s string) string { return s },
	}
	defer measure(kustomizev1.KustomizationKind, req.NamespacedName, a.started)
	at, asked := meta.ReconcileAnnotationValue(obj.Annotations)
	a.demanded = asked && at != obj.Status.LastHandledReconcileAt

	wait, err := k.attempt(ctx, a)
	if ctx.Err() != nil {
		return ctrl.Result{}, ctx.Err() // shutting down: what is true will be told by the next process
	}
	if err != nil {
		wait = k.tellFailure(a, err)
	}
	if a.demanded && mem.waiting == nil {
		obj.Status.LastHandledReconcileAt = at
	}
	if err := k.writeStatus(ctx, a); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: wait, Priority: &ordinary}, nil
}

// suspended says of a Kustomization that stood well that its spec was seen, as Flux does: kstatus would take it for
// unfinished. Nothing else happens to it.
func (k *Kustomizations) suspended(ctx context.Context, obj *Kustomization, mem *memory) error {
	if !apimeta.IsStatusConditionTrue(obj.Status.Conditions, meta.ReadyCondition) || obj.Status.ObservedGeneration == obj.Generation {
		return nil
	}
	obj.Status.ObservedGeneration = obj.Generation
	return k.writeStatus(ctx, &attempt{name: client.ObjectKeyFromObject(obj), obj: obj, mem: mem})
}

// attempt decides what is to be done and does it. It returns when to look again.
func (k *Kustomizations) attempt(ctx context.Context, a *attempt) (wait time.Duration, err error) {
	if err := k.permitted(a.obj); err != nil {
		return 0, err
	}
	if a.rules, err = rulesOf(a.obj); err != nil {
		return 0, err
	}
	if a.flux, err = a.obj.Flux(); err != nil {
		return 0, err
	}
	if a.rev = k.Revisions.Get(sourceOf(a.obj)); a.rev == nil {
		return k.withoutRevision(ctx, a)
	}
	a.origin = a.rev.Origin
	if _, yes := k.reconfigured.LoadAndDelete(a.name); yes {
		a.mem.waiting, a.mem.settled = nil, false
	}
	if a.mem.waiting.stillFor(a) {
		if !a.mem.drifted.Load() {
			return k.checkHealth(ctx, a)
		}
		a.since = a.mem.waiting.since // what drifts is put right meanwhile; the patience is the same
	}
	k.tellCanceled(a)
	a.mem.waiting = nil
	if err := k.dependencies(ctx, a.obj, a.rev.Name, a.rules); err != nil {
		return 0, err
	}
	a.obj.Status.LastAttemptedRevision = a.rev.Name
	a.mem.blockedSince = time.Time{}
	ctx, cancel := context.WithTimeout(ctx, a.flux.GetTimeout())
	defer cancel()
	if k.untouched(ctx, a) {
		return k.stillApplied(ctx, a)
	}
	summary, err := k.pipeline(ctx, a)
	if err != nil {
		return 0, err
	}
	if err := k.ending(a); err != nil {
		return 0, err
	}
	if a.mem.waiting != nil {
		return k.checkHealth(ctx, a)
	}
	return k.tellApplied(a, summary), nil
}

// untouched says that an attempt would find everything as the last one left it: the spec, everything that was read to
// render it, and the cluster.
//
// That the cluster stands as it was left, the watches say. Where none vouches for an object, it is taken on trust for one
// interval, and only for a revision that merely has another name. Whoever asks for a reconcile also wants to know that
// the keys are still there and the way to the vault is still open, so then the way is gone again.
func (k *Kustomizations) untouched(ctx context.Context, a *attempt) bool {
	m := a.mem
	if !m.settled || m.drifted.Load() || m.generation != a.obj.Generation || !a.started.Before(m.verifyAt) || !m.inputs.unchangedIn(k.Revisions.sight(a.rev)) {
		return false
	}
	if a.demanded && (m.vault || !k.sameKeys(ctx, a)) {
		return false
	}
	if !a.demanded && m.revision != a.rev.Name && a.started.Before(m.checkAt) {
		return true
	}
	return a.obj.Spec.KubeConfig == nil && k.live.Standing(ownerOf(a.obj), m.applied)
}

// sameKeys says whether the Secret with the decryption keys, if there is one, holds what it held.
func (k *Kustomizations) sameKeys(ctx context.Context, a *attempt) bool {
	if secret, ok := k.keysSecret(a.obj); ok {
		return k.keys.unchanged(ctx, secret, a.mem.keys)
	}
	return true
}

// stillApplied ends an attempt that found everything untouched. Health is no input of the last one, so it is looked at.
func (k *Kustomizations) stillApplied(ctx context.Context, a *attempt) (time.Duration, error) {
	a.mem.revision = a.rev.Name
	target, err := k.target(ctx, a.obj)
	if err != nil {
		return 0, err
	}
	if a.expect(a.mem.applied, target.reader, ""); a.mem.waiting != nil {
		return k.checkHealth(ctx, a)
	}
	return k.tellApplied(a, ""), nil
}

// withoutRevision ends an attempt for which the source has nothing. A Kustomization that was applied before keeps its
// status: its GitRepository tells what is wrong, and Moved wakes this one as soon as there is something.
func (k *Kustomizations) withoutRevision(ctx context.Context, a *attempt) (time.Duration, error) {
	src := sourceOf(a.obj)
	why, fix, err := k.sourceState(ctx, src)
	if err != nil {
		return 0, err
	}
	if a.obj.Status.LastAppliedRevision != "" && a.obj.Status.ObservedGeneration == a.obj.Generation && !a.demanded {
		return sourceGrace, nil
	}
	if why == "" { // being fetched right now
		a.cond.progressing("waiting for the first revision of " + src.Kind + "/" + src.String())
		return sourceGrace, nil
	}
	return 0, &fault.Fault{
		Code: "SLU-GIT-091", Hop: fault.HopGit, Object: src.Kind + "/" + src.String(),
		Seen: "the source has no revision", Why: why, Fix: fix, Reason: meta.ArtifactFailedReason,
	}
}

// tellApplied writes success into the status and returns the interval.
func (k *Kustomizations) tellApplied(a *attempt, summary string) time.Duration {
	k.retries.reset(a.name)
	interval := jittered(a.obj.Spec.Interval.Duration, k.Options.IntervalJitter)
	news := a.obj.Status.LastAppliedRevision != a.rev.Name || a.demanded
	if !a.mem.settled || a.mem.generation != a.obj.Generation || summary != "" || a.demanded {
		k.Log.Info("applied", "kustomization", a.name.String(), "revision", a.rev.Name,
			"duration", time.Since(a.started).Round(time.Millisecond).String(), "changes", summary)
	}
	a.mem.settled, a.mem.generation = true, a.obj.Generation
	st := &a.obj.Status
	st.ObservedGeneration = a.obj.Generation
	st.LastAppliedRevision, st.LastAppliedOriginRevision = a.rev.Name, a.origin
	st.LastAttemptedRevision = a.rev.Name
	if a.digest == "" { // nothing was rendered, because it would be the same again
		a.digest = a.mem.digest
	}
	a.mem.digest = a.digest
	// That everything was found as it was left is no news: once settled, nothing is written.
	if news || summary != "" || !a.cond.holds(meta.ReadyCondition) {
		a.record(meta.ReconciliationSucceededReason, summary)
	}
	a.cond.ready(meta.ReconciliationSucceededReason, "Applied revision: "+a.rev.Name)
	if news {
		k.Events.finished(a.obj, a.rev.Name, meta.ReconciliationSucceededReason, "Reconciliation finished in "+
			time.Since(a.started).Round(time.Millisecond).String()+", next run in "+a.obj.Spec.Interval.Duration.String())
	}
	return interval
}

// tellFailure writes a failed attempt into the status and returns when to try again. Whatever was applied stays.
func (k *Kustomizations) tellFailure(a *attempt, err error) time.Duration {
	a.mem.settled, a.mem.waiting = false, nil
	reason, message := reasonOf(err, a.stage), a.redact(err.Error())
	if reason == meta.DependencyNotReadyReason && a.patient() {
		return dependencyPatience
	}
	k.Log.Error("reconcile failed", "kustomization", a.name.String(), "reason", reason, "code", codeOf(err), "error", message)
	a.record(reason, "")
	revision := a.obj.Status.LastAttemptedRevision
	if reason != meta.DependencyNotReadyReason { // waiting in line is no warning
		k.Events.warning(a.obj, revision, reason, message)
	}
	if reason == meta.HealthCheckFailedReason {
		a.cond.set(meta.HealthyCondition, "False", reason, message)
	}
	if terminal(err) {
		a.obj.Status.ObservedGeneration = a.obj.Generation
		a.cond.stalled(reason, message)
		return 0
	}
	a.cond.failed(reason, message)
	switch {
	case reason == meta.DependencyNotReadyReason:
		return k.Options.RequeueDependency
	case a.obj.Spec.RetryInterval != nil:
		return a.obj.Spec.RetryInterval.Duration
	}
	return k.retries.next(a.name, a.obj.Spec.Interval.Duration)
}

// codeOf is the code of err's fault, by which a log line and the doctor's report find each other; empty if it has none.
func codeOf(err error) string {
	if f := fault.From(err); f != nil {
		return f.Code
	}
	return ""
}

// patient says whether the attempt keeps the status as it is because a dependency may only be a moment behind. It does
// not for an object that was never applied, or whose spec is news.
func (a *attempt) patient() bool {
	if a.mem.blockedSince.IsZero() {
		a.mem.blockedSince = a.started
	}
	st := a.mem.status
	if st.LastAppliedRevision == "" || st.ObservedGeneration != a.obj.Generation || a.demanded ||
		a.started.Sub(a.mem.blockedSince) >= dependencyPatience {
		return false
	}
	st.DeepCopyInto(&a.obj.Status)
	return true
}
