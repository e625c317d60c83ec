package onboard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// partOf selects what Flux's and our components are labelled with.
var partOf = client.MatchingLabels{"app.kubernetes.io/part-of": "flux"}

const versionLabel = "app.kubernetes.io/version"

// isSluice tells our Deployment from Flux's of the same name: one binary serves everything, and is told to be the
// controller.
func isSluice(d *appsv1.Deployment) bool {
	for _, c := range d.Spec.Template.Spec.Containers {
		if c.Name == "manager" && slices.Contains(c.Args, "controller") {
			return true
		}
	}
	return false
}

// controllers lists the Deployments of Flux's kind, those of Sluice among them, in name order.
func controllers(ctx context.Context, c client.Reader) ([]appsv1.Deployment, error) {
	var list appsv1.DeploymentList
	err := c.List(ctx, &list, partOf)
	return list.Items, err
}

// fluxInTheWay lists Flux's controllers that can't run beside Sluice.
func fluxInTheWay(ctx context.Context, c client.Reader) ([]appsv1.Deployment, error) {
	all, err := controllers(ctx, c)
	return slices.DeleteFunc(all, func(d appsv1.Deployment) bool {
		return isSluice(&d) || d.Name != "source-controller" && d.Name != "kustomize-controller"
	}), err
}

// refuseFlux is the fault of a cluster that runs Flux, unless it is to be replaced where it is.
func refuseFlux(found []appsv1.Deployment, namespace string, replace bool) error {
	var names []string
	for _, d := range found {
		names = append(names, fmt.Sprintf("%s/%s (%s)", d.Namespace, d.Name, d.Labels[versionLabel]))
		if d.Namespace != namespace {
			return &fault.Fault{Code: "SLU-KUBERNETES-031", Hop: fault.HopAPI, Object: "Deployment/" + d.Namespace + "/" + d.Name, Exit: fault.ExitNo,
				Seen: "Flux runs in namespace " + d.Namespace + ", not in " + namespace, Fix: "name its namespace: --namespace " + d.Namespace}
		}
	}
	if len(names) == 0 || replace {
		return nil
	}
	return &fault.Fault{Code: "SLU-KUBERNETES-030", Hop: fault.HopAPI, Exit: fault.ExitNo, Seen: "this cluster runs Flux: " + strings.Join(names, ", "),
		Why: "two controllers would reconcile the same objects",
		Fix: "run the command again with --replace-flux: source- and kustomize-controller are replaced, Flux's other controllers, its objects and what they applied stay"}
}

// removeFlux deletes the two Deployments and waits until their pods are gone. What they applied, and their objects, they
// leave behind untouched.
func removeFlux(ctx context.Context, c client.Client, found []appsv1.Deployment, say Say) error {
	for _, d := range found {
		say("►", "removing Flux's %s in %s namespace", d.Name, d.Namespace)
		err := c.Delete(ctx, &d, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	for _, d := range found {
		selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err != nil {
			return err
		}
		err = poll(ctx, 2*time.Minute, func() error {
			var pods corev1.PodList
			if err := c.List(ctx, &pods, client.InNamespace(d.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
				return err
			}
			if n := len(pods.Items); n > 0 {
				return &fault.Fault{Code: "SLU-KUBERNETES-032", Hop: fault.HopAPI, Object: "Deployment/" + d.Namespace + "/" + d.Name, Exit: fault.ExitTimeout,
					Seen: fmt.Sprintf("%d of Flux's pods are still there", n), Fix: "kubectl get pods -n " + d.Namespace}
			}
			return nil
		})
		if err != nil {
			return err
		}
		say("✔", "%s removed", d.Name)
	}
	return nil
}

// servedByFluxAlone are sources that nobody fetches any more once Flux's source-controller is gone.
var servedByFluxAlone = []string{"HelmRepository", "HelmChart", "OCIRepository", "Bucket"}

// orphanedSources counts the objects that lose their controller with Flux's source-controller, by kind.
func orphanedSources(ctx context.Context, c client.Reader) ([]string, error) {
	var found []string
	for _, kind := range servedByFluxAlone {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: kind + "List"})
		err := c.List(ctx, list)
		switch {
		case apimeta.IsNoMatchError(err), apierrors.IsNotFound(err):
		case err != nil:
			return nil, err
		case len(list.Items) > 0:
			found = append(found, fmt.Sprintf("%d %s", len(list.Items), kind))
		}
	}
	return found, nil
}

// ErrFluxServesSources is wrapped by the fault of a cluster whose other sources need Flux's source-controller.
var ErrFluxServesSources = errors.New("sources that only Flux serves")

func refuseOrphans(found []string) error {
	if len(found) == 0 {
		return nil
	}
	return &fault.Fault{Code: "SLU-KUBERNETES-033", Hop: fault.HopAPI, Exit: fault.ExitNo, Err: ErrFluxServesSources,
		Seen: "nobody would serve " + strings.Join(found, ", ") + " any more", Why: "Sluice's source controller fetches GitRepositories alone",
		Fix: "keep Flux in this cluster, or remove these objects first: kubectl get helmrepositories,helmcharts,ocirepositories,buckets -A"}
}

// fluxFound are Flux's controllers that are to be replaced.
type fluxFound struct{ deployments []appsv1.Deployment }
