package apply

import (
	"context"
	"errors"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sluice-gitops/sluice/internal/inventory"
)

// target is one object's place on the API server.
type target struct {
	name       string
	namespaced bool
	objects    dynamic.ResourceInterface
	metadata   metadata.ResourceInterface
}

// target finds where the entry's object is served. Its error is for unserved asks; see unserved.
func (a *Applier) target(e inventory.Entry) (target, error) {
	mapping, err := a.Mapper.RESTMapping(e.GroupKind(), e.Version)
	if err != nil {
		return target{}, err
	}
	t := target{name: e.Name, namespaced: mapping.Scope.Name() == meta.RESTScopeNameNamespace}
	objects, metas := a.objects.Resource(mapping.Resource), a.metadata.Resource(mapping.Resource)
	t.objects, t.metadata = objects, metas
	if t.namespaced {
		t.objects, t.metadata = objects.Namespace(e.Namespace), metas.Namespace(e.Namespace)
	}
	return t, nil
}

// targetOfAnyVersion is target for an object whose version may have gone since it was applied.
func (a *Applier) targetOfAnyVersion(e inventory.Entry) (target, error) {
	t, err := a.target(e)
	if !unserved(err) {
		return t, err
	}
	mapping, err := a.Mapper.RESTMapping(e.GroupKind())
	if err != nil {
		return target{}, err
	}
	e.Version = mapping.GroupVersionKind.Version
	return a.target(e)
}

// targetSoon is target for a kind whose definition was applied a moment ago: discovery and routing follow the
// definition's Established condition with a delay, and in several API servers not at the same time.
func (a *Applier) targetSoon(ctx context.Context, e inventory.Entry) (t target, err error) {
	again := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		t, err = a.target(e)
		return !unserved(err), nil
	})
	if err == nil {
		err = again
	}
	return t, err
}

// unserved says whether err means that the API server knows no such kind (and not that it could not be asked).
func unserved(err error) bool {
	if err == nil {
		return false
	}
	if meta.IsNoMatchError(err) {
		return true
	}
	var failed *apiutil.ErrResourceDiscoveryFailed
	if !errors.As(err, &failed) {
		return false
	}
	for _, cause := range *failed {
		if !meta.IsNoMatchError(cause) && !apierrors.IsNotFound(cause) {
			return false
		}
	}
	return true
}

// unrouted says whether err means that the API server has no such path, as opposed to no such object.
func unrouted(err error) bool {
	return apierrors.IsNotFound(err) && strings.Contains(err.Error(), "could not find the requested resource")
}

func (a *Applier) dryRun(ctx context.Context, t target, body []byte) (*unstructured.Unstructured, *reply, error) {
	ctx, r := watched(ctx)
	u, err := t.objects.Patch(ctx, t.name, types.ApplyPatchType, body, metav1.PatchOptions{
		FieldManager: a.FieldManager, Force: new(true), DryRun: []string{metav1.DryRunAll},
	})
	return u, r, err
}

func (a *Applier) apply(ctx context.Context, t target, body []byte) (*unstructured.Unstructured, error) {
	return t.objects.Patch(ctx, t.name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: a.FieldManager, Force: new(true)})
}

// read returns the live object, nil if it does not exist.
func (t target) read(ctx context.Context) (*unstructured.Unstructured, error) {
	u, err := t.objects.Get(ctx, t.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return u, err
}

// look returns the live object's metadata, nil if it does not exist. No secret value crosses the wire for it.
func (t target) look(ctx context.Context) (*metav1.PartialObjectMetadata, error) {
	m, err := t.metadata.Get(ctx, t.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return m, err
}

// remove deletes exactly the object that was looked at: not one that was made since under the same name, and not one
// whose labels have changed since. Dependents are collected in the background, as Flux has it.
func (t target) remove(ctx context.Context, seen metav1.Object) error {
	uid, rv := seen.GetUID(), seen.GetResourceVersion()
	err := t.metadata.Delete(ctx, t.name, metav1.DeleteOptions{
		PropagationPolicy: new(metav1.DeletePropagationBackground),
		Preconditions:     &metav1.Preconditions{UID: &uid, ResourceVersion: &rv},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// gone waits until the object with the UID does not exist any more.
func (t target) gone(ctx context.Context, uid types.UID) error {
	backoff := wait.Backoff{Duration: 20 * time.Millisecond, Factor: 1.5, Steps: 12, Cap: 2 * time.Second}
	return backoff.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		m, err := t.look(ctx)
		return err == nil && (m == nil || m.GetUID() != uid), err
	})
}
