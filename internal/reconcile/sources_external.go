package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	ctrlsource "sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-gitops/sluice/internal/source"
)

const (
	// absentKindRetry is how often a kind that the cluster does not serve is looked for, while something refers to it.
	absentKindRetry = 30 * time.Second
	// artifactTimeout bounds one download.
	artifactTimeout = 2 * time.Minute
	// originRevision is the artifact metadata under which Flux keeps what an OCI artifact was made from.
	originRevision = "org.opencontainers.image.revision"
)

// externalSources serves Kustomizations from the artifacts of sources that other controllers reconcile. Only objects
// that a Kustomization names are downloaded; a kind is watched from the moment that one does and the cluster serves it.
type externalSources struct {
	client    client.Client
	mgr       ctrl.Manager
	revisions *Revisions
	log       *slog.Logger
	features  Features
	git       GitMode
	control   controller.TypedController[sourceKey]
	limits    source.Limits

	mu      sync.Mutex
	watched map[string]bool
	digests map[sourceKey]string // of the artifact that a revision came from
	retries *backoff
}

func newExternalSources(mgr ctrl.Manager, r *Revisions, o Options) *externalSources {
	return &externalSources{
		client: mgr.GetClient(), mgr: mgr, revisions: r, log: o.Log, features: o.Features, git: o.GitRepositories,
		watched: map[string]bool{}, digests: map[sourceKey]string{}, retries: newBackoff(),
	}
}

// setup registers the controller, woken by Kustomizations that name such a source and later by the sources themselves.
func (x *externalSources) setup(mgr ctrl.Manager, concurrent int) error {
	again := true
	c, err := controller.NewTyped("external-source", mgr, controller.TypedOptions[sourceKey]{
		Reconciler: x, MaxConcurrentReconciles: concurrent, SkipNameValidation: &again, RateLimiter: retryAfterOutage[sourceKey](),
	})
	if err != nil {
		return err
	}
	x.control = c
	named := handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, k *Kustomization) []sourceKey {
		if x.git.external(k.Spec.SourceRef.Kind) == nil {
			return nil
		}
		return []sourceKey{sourceOf(k)}
	})
	return c.Watch(ctrlsource.TypedKind(mgr.GetCache(), &Kustomization{}, named))
}

// watch starts to watch a kind if it is not yet watched. It reports false while the cluster does not serve the kind.
func (x *externalSources) watch(kind string) (bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.watched[kind] {
		return true, nil
	}
	_, err := x.mgr.GetRESTMapper().RESTMapping(schema.GroupKind{Group: sourcev1.GroupVersion.Group, Kind: kind}, sourcev1.GroupVersion.Version)
	if apimeta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	itself := handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []sourceKey {
		return []sourceKey{{kind, client.ObjectKeyFromObject(o)}}
	})
	if err := x.control.Watch(ctrlsource.TypedKind[client.Object](x.mgr.GetCache(), x.git.external(kind), itself)); err != nil {
		return false, err
	}
	x.watched[kind] = true
	return true, nil
}

// Reconcile makes the source's artifact the current revision, if a Kustomization reads it.
func (x *externalSources) Reconcile(ctx context.Context, key sourceKey) (reconcile.Result, error) {
	used, err := x.used(ctx, key)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !used {
		x.forget(key)
		return reconcile.Result{}, nil
	}
	served, err := x.watch(key.Kind)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !served {
		return reconcile.Result{RequeueAfter: absentKindRetry}, nil
	}
	obj := x.git.external(key.Kind)
	if err := x.client.Get(ctx, key.NamespacedName, obj); err != nil {
		if apierrors.IsNotFound(err) {
			x.forget(key)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, err
	}
	art := obj.GetArtifact()
	if art == nil || x.holds(key, art) {
		return reconcile.Result{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, artifactTimeout)
	defer cancel()
	tree, err := source.OpenArchive(ctx, reachable(art.URL), art.Digest, x.limits)
	if errors.Is(ctx.Err(), context.Canceled) {
		return reconcile.Result{}, ctx.Err()
	}
	if err != nil {
		x.log.Error("artifact cannot be used", "source", key.Kind+"/"+key.NamespacedName.String(), "error", err)
		x.revisions.Fail(key, obj, err)
		return reconcile.Result{RequeueAfter: x.retries.next(retryName(key), 5*time.Minute)}, nil
	}
	x.retries.reset(retryName(key))
	x.mu.Lock()
	x.digests[key] = art.Digest
	x.mu.Unlock()
	x.log.Info("new revision", "source", key.Kind+"/"+key.NamespacedName.String(), "revision", art.Revision)
	x.revisions.Put(key, obj, &source.Revision{Name: art.Revision, Origin: art.Metadata[originRevision], Tree: tree})
	return reconcile.Result{}, nil
}

// used says whether a Kustomization names the source, and may.
func (x *externalSources) used(ctx context.Context, key sourceKey) (bool, error) {
	if key.Kind == sourcev1.ExternalArtifactKind && !x.features.On(ExternalArtifact) {
		return false, nil
	}
	var list KustomizationList
	if err := x.client.List(ctx, &list, client.MatchingFields{indexSource: key.NamespacedName.String()}); err != nil {
		return false, err
	}
	for i := range list.Items {
		if sourceOf(&list.Items[i]) == key {
			return true, nil
		}
	}
	return false, nil
}

func (x *externalSources) holds(key sourceKey, art *meta.Artifact) bool {
	rev := x.revisions.Get(key)
	x.mu.Lock()
	defer x.mu.Unlock()
	return rev != nil && rev.Name == art.Revision && x.digests[key] == art.Digest
}

func (x *externalSources) forget(key sourceKey) {
	x.revisions.Delete(key)
	x.retries.reset(retryName(key))
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.digests, key)
}

func retryName(key sourceKey) types.NamespacedName {
	return types.NamespacedName{Namespace: key.Kind + "/" + key.Namespace, Name: key.Name}
}

// reachable is the address of an artifact as this process reaches it. Outside a cluster, Flux's own variable says where
// the source controller is.
func reachable(address string) string {
	host := os.Getenv("SOURCE_CONTROLLER_LOCALHOST")
	if host == "" {
		return address
	}
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	u.Host = host
	return u.String()
}

// externalSource is what the kinds have in common that others reconcile.
type externalSource interface {
	client.Object
	GetArtifact() *meta.Artifact
	GetConditions() []metav1.Condition
}

// externalState says why a source that others reconcile has no revision here. Both texts are empty while its artifact
// is being downloaded.
func externalState(ctx context.Context, c client.Reader, mode GitMode, key sourceKey) (why, fix string, err error) {
	obj := mode.external(key.Kind)
	if obj == nil {
		return fmt.Sprintf("%q is no kind of source", key.Kind), "correct spec.sourceRef.kind", nil
	}
	switch err := c.Get(ctx, key.NamespacedName, obj); {
	case apimeta.IsNoMatchError(err):
		return "the cluster has no " + key.Kind + " in " + sourcev1.GroupVersion.String(),
			"install the controller that makes them, or correct spec.sourceRef", nil
	case apierrors.IsNotFound(err):
		return key.Kind + "/" + key.NamespacedName.String() + " does not exist", "correct spec.sourceRef, or add it", nil
	case err != nil:
		return "", "", err
	}
	if obj.GetArtifact() != nil {
		return "", "", nil
	}
	if repo, ok := obj.(*sourcev1.GitRepository); ok && repo.Spec.Suspend {
		return "it is suspended", "flux resume source git " + key.Name + " -n " + key.Namespace, nil
	}
	if ready := apimeta.FindStatusCondition(obj.GetConditions(), meta.ReadyCondition); ready != nil && ready.Status == metav1.ConditionFalse {
		return ready.Message, "kubectl describe " + key.Kind + " " + key.Name + " -n " + key.Namespace, nil
	}
	return key.Kind + "/" + key.NamespacedName.String() + " has no artifact yet", "look whether its controller runs", nil
}
