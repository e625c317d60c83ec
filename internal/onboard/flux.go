package onboard

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// removeFlux deletes Deployments of Flux's and waits until their pods are gone. What they applied, and their objects, they
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
