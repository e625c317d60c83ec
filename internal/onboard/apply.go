package onboard

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Scheme makes a scheme of the types that a client for this package must know.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(apiextensionsv1.AddToScheme(s))
	utilruntime.Must(sourcev1.AddToScheme(s))
	utilruntime.Must(kustomizev1.AddToScheme(s))
	return s
}

// fieldManager is the controller's own: it goes on with what is applied here, and a field that leaves the repository
// leaves the cluster.
const fieldManager = "kustomize-controller"

// Say tells a step to whoever watches: a glyph of Flux's (►, ✔, ◎, ⚠, ✗, ✚) and a line.
type Say func(glyph, format string, args ...any)

// stages are objects in the order in which they are applied.
type stages struct {
	definitions []*unstructured.Unstructured // namespaces and definitions
	components  []*unstructured.Unstructured
	sync        []*unstructured.Unstructured // GitRepositories and Kustomizations
}

func stage(objects []*unstructured.Unstructured) (s stages) {
	for _, o := range objects {
		switch o.GroupVersionKind().Group + "/" + o.GetKind() {
		case "/Namespace", "apiextensions.k8s.io/CustomResourceDefinition":
			s.definitions = append(s.definitions, o)
		case sourcev1.GroupVersion.Group + "/" + sourcev1.GitRepositoryKind, kustomizev1.GroupVersion.Group + "/" + kustomizev1.KustomizationKind:
			s.sync = append(s.sync, o)
		default:
			s.components = append(s.components, o)
		}
	}
	return s
}

// reads tells whether the controller among the components leaves the sources to Flux's source-controller.
func (s stages) reads() bool {
	for _, o := range s.components {
		if o.GetKind() != "Deployment" || o.GetName() != controller {
			continue
		}
		var d appsv1.Deployment
		if runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d) == nil && reads(&d) {
			return true
		}
	}
	return false
}

// apply applies objects server-side and takes over their fields.
func apply(ctx context.Context, c client.Client, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		if err := applyOne(ctx, c, o); err != nil {
			if ctx.Err() != nil || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
				return err
			}
			return &fault.Fault{Code: "SLU-APPLY-020", Hop: fault.HopApply, Object: name(o), Seen: "the cluster does not take it", Why: err.Error(),
				Fix: "correct what the flux-system folder's kustomization.yaml makes of it, and run the command again", Err: err}
		}
	}
	return nil
}

// applyOne waits out the moment in which the API server doesn't serve a new kind yet.
func applyOne(ctx context.Context, c client.Client, o *unstructured.Unstructured) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o.DeepCopy()), client.FieldOwner(fieldManager), client.ForceOwnership)
		if err == nil || !(apimeta.IsNoMatchError(err) || apierrors.IsNotFound(err)) || time.Now().After(deadline) {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// established waits until every definition among objects is served.
func established(ctx context.Context, c client.Reader, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		err := poll(ctx, 30*time.Second, func() error { return servedNow(ctx, c, o.GetName()) })
		if err != nil {
			return fmt.Errorf("%s: %w", name(o), err)
		}
	}
	return nil
}

var errNotServed = errors.New("it is not served")

func servedNow(ctx context.Context, c client.Reader, definition string) error {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := c.Get(ctx, client.ObjectKey{Name: definition}, &crd); err != nil {
		return err
	}
	for _, cond := range crd.Status.Conditions {
		if cond.Type == apiextensionsv1.Established && cond.Status == apiextensionsv1.ConditionTrue {
			return nil
		}
	}
	return errNotServed
}

// rolledOut says what keeps a Deployment from running what its template says; nil when it does. seen is false where no
// deployment controller has looked at it at all.
func rolledOut(d *appsv1.Deployment) (seen bool, err error) {
	want, s := int32(1), d.Status
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	switch {
	case s.ObservedGeneration < d.Generation:
		return s.ObservedGeneration > 0, errors.New("the rollout has not begun")
	case s.UpdatedReplicas < want || s.Replicas > s.UpdatedReplicas:
		return true, fmt.Errorf("%d of %d pods are of the new version", s.UpdatedReplicas, want)
	case s.AvailableReplicas < want:
		return true, fmt.Errorf("%d of %d pods are available", s.AvailableReplicas, want)
	}
	return true, nil
}

func name(o client.Object) string {
	n := o.GetName()
	if o.GetNamespace() != "" {
		n = o.GetNamespace() + "/" + n
	}
	return o.GetObjectKind().GroupVersionKind().Kind + "/" + n
}

// poll asks until ok returns nil, ctx ends, or limit has passed; then it returns the last answer.
func poll(ctx context.Context, limit time.Duration, ok func() error) error {
	for deadline := time.Now().Add(limit); ; {
		err := ok()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		if perr := pause(ctx, 50*time.Millisecond); perr != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
