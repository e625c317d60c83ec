package onboard

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/fault"
)

const (
	sourceController = "source-controller"
	readFlag         = "--git-repositories=read" // as bootstrap writes it
)

// scene is what runs in a cluster, and what it is needed for.
type scene struct {
	kustomize *appsv1.Deployment // Flux's kustomize-controller; nil: none
	source    *appsv1.Deployment // Flux's source-controller; nil: none
	sluice    *appsv1.Deployment // nil: none
	needs     []string           // "2 HelmRepository": objects that only Flux's source-controller serves
}

// sceneOf looks at a cluster.
func sceneOf(ctx context.Context, c client.Reader) (s scene, err error) {
	all, err := controllers(ctx, c)
	if err != nil {
		return s, err
	}
	for i, d := range all {
		switch {
		case isSluice(&d):
			s.sluice = &all[i]
		case d.Name == controller:
			s.kustomize = &all[i]
		case d.Name == sourceController:
			s.source = &all[i]
		}
	}
	s.needs, err = servedByFluxAlone(ctx, c)
	return s, err
}

// servedByFluxAlone counts the objects that only Flux's source-controller serves, by kind.
func servedByFluxAlone(ctx context.Context, c client.Reader) (found []string, err error) {
	for _, kind := range bootstrap.ServedByFluxAlone {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: sourcev1.GroupVersion.Group, Version: "v1", Kind: kind + "List"})
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

// reads tells whether a Deployment of Sluice leaves the sources to Flux's source-controller.
func reads(d *appsv1.Deployment) bool {
	return d != nil && slices.ContainsFunc(d.Spec.Template.Spec.Containers, func(c corev1.Container) bool {
		return c.Name == "manager" && slices.Contains(c.Args, readFlag)
	})
}

// sources says who is to serve the sources. Flux's source-controller stays where something needs it or the user wants
// it, and once it has stayed, until --replace-flux is said again: that replaces all that can be replaced.
func (s scene) sources(wanted, replace bool) bootstrap.Sources {
	switch {
	case wanted:
		return bootstrap.SourcesFlux
	case s.source == nil:
		return bootstrap.SourcesAsFound
	case len(s.needs) > 0, reads(s.sluice) && !replace:
		return bootstrap.SourcesFlux
	}
	return bootstrap.SourcesSluice
}

// gone are Flux's controllers that can't run beside a Sluice that serves the sources, or leaves them to Flux.
func (s scene) gone(fluxServes bool) (list []appsv1.Deployment) {
	if s.source != nil && !fluxServes {
		list = append(list, *s.source)
	}
	if s.kustomize != nil {
		list = append(list, *s.kustomize)
	}
	return list
}

// permit refuses what nobody has asked for: another namespace's Flux, and one that is not to be replaced.
func (s scene) permit(namespace string, fluxServes, replace bool) error {
	for _, d := range []*appsv1.Deployment{s.kustomize, s.source} {
		if d != nil && d.Namespace != namespace {
			return &fault.Fault{Code: "SLU-KUBERNETES-031", Hop: fault.HopAPI, Object: "Deployment/" + d.Namespace + "/" + d.Name, Exit: fault.ExitNo,
				Seen: "Flux runs in namespace " + d.Namespace + ", not in " + namespace, Fix: "name its namespace: --namespace " + d.Namespace}
		}
	}
	if replace || len(s.gone(fluxServes)) == 0 {
		return nil
	}
	var names []string
	for _, d := range s.gone(false) {
		names = append(names, fmt.Sprintf("%s/%s (%s)", d.Namespace, d.Name, d.Labels[versionLabel]))
	}
	what := "source- and kustomize-controller are replaced"
	if fluxServes {
		what = "kustomize-controller is replaced, source-controller stays" + s.because()
	}
	return &fault.Fault{Code: "SLU-KUBERNETES-030", Hop: fault.HopAPI, Exit: fault.ExitNo, Seen: "this cluster runs Flux: " + strings.Join(names, ", "),
		Why: "two controllers would reconcile the same objects",
		Fix: "run the command again with --replace-flux: " + what + ", Flux's other controllers, its objects and what they applied stay"}
}

// because says what needs source-controller.
func (s scene) because() string {
	if len(s.needs) == 0 {
		return ""
	}
	return " for " + strings.Join(s.needs, ", ")
}

// tell says who serves the sources where that is no matter of course. bring is how source-controller comes in.
func (s scene) tell(fluxServes bool, bring string, say Say) {
	switch {
	case fluxServes && s.source != nil && len(s.needs) == 0:
		say("◎", "Flux's source-controller goes on serving the sources; nothing in the cluster needs it (with --replace-flux, and without it in --components-extra, Sluice serves them)")
	case fluxServes:
		say("◎", "Flux's source-controller serves the sources%s; Sluice reads their artifacts", s.because())
	case len(s.needs) > 0:
		say("⚠", "nobody serves %s: Sluice fetches GitRepositories alone; Flux's source-controller does, and comes by: %s", strings.Join(s.needs, ", "), bring)
	case s.source != nil && reads(s.sluice):
		say("◎", "nothing needs Flux's source-controller any more: Sluice serves the sources")
	}
}

// bringSources is the way from a Sluice that serves to one that reads, in this request's repository or without one.
func (r *Request) bringSources() string {
	export := "flux install --components=source-controller -n " + r.namespace()
	if r.Manifests.Sync.URL == "" {
		return export + "; then sluice install --components-extra source-controller -n " + r.namespace()
	}
	folder := path.Join(path.Clean("/" + r.Manifests.Sync.Path)[1:], bootstrap.Folder)
	return export + " --export > " + path.Join(folder, sourceController+".yaml") + ", push it, and run this command with --components-extra source-controller"
}
