package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

const (
	finalizer        = "finalizers.fluxcd.io"
	gitFieldManager  = "source-controller" // Flux's name for the writer of GitRepository status
	defaultGitWait   = 60 * time.Second    // Flux's default for spec.timeout
	fetchFailed      = sourcev1.FetchFailedCondition
	artifactInStore  = sourcev1.ArtifactInStorageCondition
	storageFailed    = sourcev1.StorageOperationFailedCondition
	gitFailedDefault = sourcev1.GitOperationFailedReason
)

// GitRepositories keeps one mirror per GitRepository and publishes its current revision.
type GitRepositories struct {
	client.Client
	Secrets   client.Reader // uncached
	Revisions *Revisions
	Artifacts *Artifacts
	MirrorDir string // parent folder of the mirrors
	Events    recorder
	Log       *slog.Logger

	Features       Features
	DefaultAccount string // ServiceAccount that signs in to clouds where an object names none

	KexAlgorithms, HostKeyAlgorithms []string // of ssh remotes; nil: the defaults of package source

	cloud      gitCloud
	identities objectIdentities // of ServiceAccounts
	mu         sync.Mutex
	states     map[types.NamespacedName]*gitState
	lanes      lanes
	statuses   map[types.NamespacedName]*gitStatus
	retries    *backoff
}

// gitState is what this process keeps of one GitRepository between two attempts. Attempts of one object never overlap.
type gitState struct {
	mirror  *source.Mirror
	fetched *source.Revision // as the remote has it; what is handed on is a view of it
	spec    source.Spec      // that it was fetched with
	ignores source.Ignores
	github  githubToken
}

func newGitRepositories(c client.Client, secrets client.Reader, r *Revisions, a *Artifacts, mirrorDir string) *GitRepositories {
	return &GitRepositories{
		Client: c, Secrets: secrets, Revisions: r, Artifacts: a, MirrorDir: mirrorDir,
		states: map[types.NamespacedName]*gitState{}, statuses: map[types.NamespacedName]*gitStatus{}, retries: newBackoff(), cloud: newGitCloud(), lanes: newLanes(4),
	}
}

// Reconcile brings one GitRepository's revision up to date: one ls-remote when the remote has not moved.
func (g *GitRepositories) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var obj sourcev1.GitRepository
	if err := g.Get(ctx, req.NamespacedName, &obj); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !obj.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, g.forget(ctx, &obj)
	}
	if err := g.restore(ctx, &obj); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !controllerutil.ContainsFinalizer(&obj, finalizer) {
		base := obj.DeepCopy()
		controllerutil.AddFinalizer(&obj, finalizer)
		if err := g.Patch(ctx, &obj, client.MergeFrom(base), client.FieldOwner(gitFieldManager)); err != nil {
			return ctrl.Result{}, err
		}
	}
	if obj.Spec.Suspend {
		return ctrl.Result{}, nil
	}

	defer measure(sourcev1.GitRepositoryKind, req.NamespacedName, time.Now())
	leave, err := g.lanes.enter(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	defer leave()
	base := obj.DeepCopy()
	cond := conditions{&obj.Status.Conditions, obj.Generation}
	rev, included, err := g.attempt(ctx, &obj, cond)
	if ctx.Err() != nil {
		return ctrl.Result{}, ctx.Err() // shutting down: the object is not to blame
	}
	var wait time.Duration
	if err != nil {
		wait = g.tellFailure(&obj, cond, err)
	} else {
		wait = obj.Spec.Interval.Duration
		g.tellRevision(&obj, cond, rev, included)
	}
	if at, ok := meta.ReconcileAnnotationValue(obj.Annotations); ok {
		obj.Status.LastHandledReconcileAt = at
	}
	if err := g.patchStatus(ctx, base, &obj); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: wait}, nil
}

// attempt brings the mirror up to date and returns the revision to hand on, and what it includes.
func (g *GitRepositories) attempt(ctx context.Context, obj *sourcev1.GitRepository, cond conditions) (*source.Revision, []included, error) {
	state, err := g.state(client.ObjectKeyFromObject(obj))
	if err != nil {
		return nil, nil, err
	}
	included, err := g.includes(ctx, obj)
	if err != nil {
		return nil, nil, err
	}
	cond.drop(sourcev1.IncludeUnavailableCondition)
	fetched, err := g.fetch(ctx, obj, state)
	if err != nil {
		state.github = githubToken{} // it may have been revoked
		return nil, nil, err
	}
	state.fetched = fetched
	cond.drop(fetchFailed)
	if err := g.verify(ctx, obj, cond, fetched); err != nil {
		return nil, nil, err
	}
	tree := fetched.Tree
	if obj.Spec.RecurseSubmodules {
		if tree, err = g.submodules(ctx, obj, state); err != nil {
			return nil, nil, err
		}
	}
	if len(obj.Spec.SparseCheckout) > 0 {
		if tree, err = source.Sparse(tree, obj.Spec.SparseCheckout); err != nil {
			return nil, nil, err
		}
	}
	if tree, err = g.view(obj, &state.ignores, tree, included); err != nil {
		return nil, nil, err
	}
	return &source.Revision{Name: fetched.Name, Commit: fetched.Commit, Tree: tree}, included, nil
}

func (g *GitRepositories) submodules(ctx context.Context, obj *sourcev1.GitRepository, state *gitState) (source.Tree, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout(obj))
	defer cancel()
	return state.mirror.Submodules(ctx, state.spec, state.fetched)
}

func gitTimeout(obj *sourcev1.GitRepository) time.Duration {
	if obj.Spec.Timeout != nil {
		return obj.Spec.Timeout.Duration
	}
	return defaultGitWait
}

func (g *GitRepositories) fetch(ctx context.Context, obj *sourcev1.GitRepository, state *gitState) (*source.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout(obj))
	defer cancel()
	auth, err := g.auth(ctx, obj, state)
	if err != nil {
		return nil, err
	}
	spec := source.Spec{URL: obj.Spec.URL, Auth: auth}
	if r := obj.Spec.Reference; r != nil {
		spec.Branch, spec.Tag, spec.SemVer, spec.Name, spec.Commit = r.Branch, r.Tag, r.SemVer, r.Name, r.Commit
	}
	state.spec = spec
	return state.mirror.Fetch(ctx, spec, state.fetched)
}

// tellRevision publishes rev, first in process, then as an artifact, and writes the outcome into obj's status.
func (g *GitRepositories) tellRevision(obj *sourcev1.GitRepository, cond conditions, rev *source.Revision, list []included) {
	g.retries.reset(client.ObjectKeyFromObject(obj))
	g.Revisions.Put(gitKey(client.ObjectKeyFromObject(obj)), obj, rev)
	recovered := apimeta.IsStatusConditionFalse(obj.Status.Conditions, meta.ReadyCondition)
	obj.Status.ObservedGeneration = obj.Generation
	message := "stored artifact for revision '" + rev.Name + "'"
	// The archive is for others. That it cannot be stored is told, but keeps nobody here from working.
	store := g.Artifacts.Store
	if !sameContent(obj, list) {
		store = g.Artifacts.Renew
	}
	art, err := store(obj, rev)
	if err != nil {
		cond.set(storageFailed, metav1.ConditionTrue, "ArchiveOperationFailed", err.Error())
		cond.failed("ArchiveOperationFailed", "artifact for revision '"+rev.Name+"' cannot be stored: "+err.Error()+
			"; the revision is applied from memory; fix: free space in the controller's storage")
		return
	}
	old := obj.Status.Artifact
	obj.Status.Artifact = art
	observe(obj, list)
	cond.drop(storageFailed)
	cond.set(artifactInStore, metav1.ConditionTrue, meta.SucceededReason, message)
	cond.ready(meta.SucceededReason, message)
	event := "stored artifact for commit '" + rev.Commit.Subject + "'"
	switch {
	case old == nil || old.Digest != art.Digest:
		g.Log.Info("new revision", "gitrepository", obj.Namespace+"/"+obj.Name, "revision", rev.Name)
		g.Events.stored(obj, rev.Name, art.Digest, "NewArtifact", event)
	case recovered:
		g.Events.stored(obj, rev.Name, art.Digest, meta.SucceededReason, event)
	}
}

// tellFailure writes a failed attempt into obj's status and returns when to try again, 0 for not before an edit. The
// revision that was current stays current.
func (g *GitRepositories) tellFailure(obj *sourcev1.GitRepository, cond conditions, err error) time.Duration {
	reason := reasonOf(err, gitFailedDefault)
	g.Log.Error("fetch failed", "gitrepository", obj.Namespace+"/"+obj.Name, "error", err)
	g.Events.warning(obj, "", reason, err.Error())
	step := &stepError{condition: fetchFailed, status: metav1.ConditionTrue}
	errors.As(err, &step)
	cond.set(step.condition, step.status, reason, err.Error())
	if terminal(err) || step.stalled || reason == sourcev1.URLInvalidReason {
		obj.Status.ObservedGeneration = obj.Generation
		cond.stalled(reason, err.Error())
		return 0
	}
	cond.failed(reason, err.Error())
	return g.retries.next(client.ObjectKeyFromObject(obj), obj.Spec.Interval.Duration)
}

func (g *GitRepositories) state(name types.NamespacedName) (*gitState, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.states[name]; s != nil {
		return s, nil
	}
	m, err := source.OpenMirror(g.mirrorDir(name))
	if err != nil {
		return nil, &fault.Fault{
			Code: "SLU-GIT-090", Hop: fault.HopGit, Object: "GitRepository/" + name.String(),
			Seen: "the mirror folder cannot be used", Why: err.Error(),
			Fix: "free space in, or correct the permissions of, the folder given by --storage-path", Reason: "StorageOperationFailed", Err: err,
		}
	}
	g.states[name] = &gitState{mirror: m}
	return g.states[name], nil
}

func (g *GitRepositories) mirrorDir(name types.NamespacedName) string {
	return filepath.Join(g.MirrorDir, name.Namespace, name.Name)
}

// forget removes what was kept for a deleted repository, then its finalizer.
func (g *GitRepositories) forget(ctx context.Context, obj *sourcev1.GitRepository) error {
	name := client.ObjectKeyFromObject(obj)
	g.Revisions.Delete(gitKey(name))
	g.retries.reset(name)
	unmeasure(sourcev1.GitRepositoryKind, name)
	tokens.forget(involvedRepository(obj))
	g.mu.Lock()
	delete(g.states, name)
	delete(g.statuses, name)
	g.mu.Unlock()
	if err := os.RemoveAll(g.mirrorDir(name)); err != nil {
		return err
	}
	if err := g.Artifacts.Remove(obj.Namespace, obj.Name); err != nil {
		return err
	}
	base := obj.DeepCopy()
	if !controllerutil.RemoveFinalizer(obj, finalizer) {
		return nil
	}
	return client.IgnoreNotFound(g.Patch(ctx, obj, client.MergeFrom(base), client.FieldOwner(gitFieldManager)))
}
