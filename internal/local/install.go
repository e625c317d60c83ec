package local

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/node"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/source"
)

// fieldManager is the controller's own, so that it takes over what is installed here without a conflict.
const fieldManager = "kustomize-controller"

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(apiextensionsv1.AddToScheme(s))
	utilruntime.Must(sourcev1.AddToScheme(s))
	utilruntime.Must(kustomizev1.AddToScheme(s))
	return s
}()

// install applies <clusterPath>/flux-system of tree as the administrator. Where it can't be rendered but an earlier
// install stands, it warns and leaves that alone: the user's repository may be broken without the platform being so.
func install(ctx context.Context, cfg *rest.Config, tree source.Tree, clusterPath string, step *event.Step, sink event.Sink) (int, error) {
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return 0, err
	}
	res, err := render.Render(ctx, render.Request{Tree: tree, Path: path.Join(clusterPath, bootstrap.Folder)})
	if err != nil {
		if installed(ctx, c) && ctx.Err() == nil {
			event.Warning(sink, "the components stay as they are: "+err.Error())
			return 0, nil
		}
		return 0, err
	}
	definitions, rest := split(res.Objects)
	if err := applyAll(ctx, c, definitions, step); err != nil {
		return 0, err
	}
	step.Progress("waiting for the definitions to be served")
	if err := established(ctx, c, definitions); err != nil {
		return 0, err
	}
	return len(res.Objects), applyAll(ctx, c, rest, step)
}

func installed(ctx context.Context, c client.Reader) bool {
	return c.Get(ctx, client.ObjectKey{Namespace: node.Namespace, Name: node.Name}, &appsv1.Deployment{}) == nil
}

// split separates what others need to exist first: namespaces and definitions.
func split(objects []*unstructured.Unstructured) (first, rest []*unstructured.Unstructured) {
	for _, o := range objects {
		if k := o.GetKind(); k == "Namespace" || k == "CustomResourceDefinition" {
			first = append(first, o)
		} else {
			rest = append(rest, o)
		}
	}
	return first, rest
}

func applyAll(ctx context.Context, c client.Client, objects []*unstructured.Unstructured, step *event.Step) error {
	for _, o := range objects {
		name := o.GetKind() + "/" + o.GetName()
		step.Progress("applying " + name)
		if err := applyOne(ctx, c, o); err != nil {
			return &fault.Fault{Code: "SLU-PLATFORM-041", Hop: fault.HopApply, Object: name, Seen: err.Error(), Fix: "correct it in the repository's flux-system folder", Err: err}
		}
	}
	return nil
}

// applyOne applies o, and waits out the moment in which the API server doesn't serve a new kind yet.
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
		err := poll(ctx, 30*time.Second, func() error {
			var crd apiextensionsv1.CustomResourceDefinition
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), &crd); err != nil {
				return err
			}
			for _, cond := range crd.Status.Conditions {
				if cond.Type == apiextensionsv1.Established && cond.Status == apiextensionsv1.ConditionTrue {
					return nil
				}
			}
			return errors.New("it is not established")
		})
		if err != nil {
			return fmt.Errorf("CustomResourceDefinition %s: %w", o.GetName(), err)
		}
	}
	return nil
}

// poll asks until ok returns nil, ctx ends, or limit has passed; then it returns the last answer.
func poll(ctx context.Context, limit time.Duration, ok func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		if perr := pause(ctx, 25*time.Millisecond); perr != nil {
			return perr
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
