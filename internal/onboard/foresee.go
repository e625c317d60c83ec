package onboard

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/source"
)

// holdings are what the cluster's sync owns of Flux's components, and the path that it follows.
type holdings struct {
	sync string // namespace/name
	path string // from the repository's root, with a leading slash
	ids  []inventory.ID
}

// holdings looks at the sync that a take-over, or a bootstrap into another path, is about to change. What it owns and
// the new folder does not hold, it would prune: with a definition all its objects, and with them what they applied.
func (r *Request) holdings(ctx context.Context, found scene) (h holdings, err error) {
	name := r.Manifests.Sync.Name
	if name == "" {
		name = r.namespace()
	}
	var ks kustomizev1.Kustomization
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: r.namespace(), Name: name}, &ks)
	if apimeta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return h, nil
	}
	h.sync, h.path = ks.Namespace+"/"+ks.Name, path.Clean("/"+ks.Spec.Path)
	if err != nil || !ks.Spec.Prune || found.kustomize == nil && h.path == path.Clean("/"+r.Manifests.Sync.Path) {
		return h, err
	}
	owned, err := inventory.FromStatus(ks.Status.Inventory)
	if err != nil {
		return h, fmt.Errorf("status.inventory of %s: %w", h.sync, err)
	}
	replaced := []string{controller}
	if r.Manifests.Sources != bootstrap.SourcesFlux {
		replaced = append(replaced, sourceController)
	}
	for _, e := range owned.Entries() {
		switch id := e.ID; {
		case id.Kind == "CustomResourceDefinition" && strings.HasSuffix(id.Name, ".toolkit.fluxcd.io"),
			id.Kind == "Deployment" && id.Namespace == r.namespace() && strings.HasSuffix(id.Name, "-controller") && !slices.Contains(replaced, id.Name):
			h.ids = append(h.ids, id)
		}
	}
	return h, nil
}

// refuse is the fault of a folder that does not hold all of h.
func (h holdings) refuse(objects []*unstructured.Unstructured, r *Request) error {
	var lost []string
	for _, id := range h.ids {
		if !slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool { return inventory.IDOf(o) == id }) {
			lost = append(lost, id.Kind+"/"+id.Name)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	folder := path.Join(path.Clean("/" + r.Manifests.Sync.Path)[1:], bootstrap.Folder)
	fix := "flux install --export > " + path.Join(folder, bootstrap.ComponentsFile) + ", push it, and run the command again: it keeps what Sluice does not replace"
	if own := path.Clean("/" + r.Manifests.Sync.Path); h.path != own {
		fix = "bootstrap into the path that the cluster follows: --path ." + h.path + "; or bring Flux's components along: " + fix
	}
	return &fault.Fault{Code: "SLU-KUBERNETES-037", Hop: fault.HopAPI, Object: "Kustomization/" + h.sync, Exit: fault.ExitNo,
		Seen: fmt.Sprintf("the cluster's sync would prune %s; nothing was pushed", strings.Join(lost, ", ")),
		Why:  "it owns them, and " + folder + " does not hold them", Fix: fix}
}

// readable refuses to replace Flux's kustomize-controller where a Kustomization's artifact is larger than Sluice reads.
func readable(ctx context.Context, c client.Reader) error {
	var list kustomizev1.KustomizationList
	if err := c.List(ctx, &list); err != nil {
		if apimeta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	seen := map[string]bool{}
	for _, k := range list.Items {
		ref := k.Spec.SourceRef
		if ref.Namespace == "" {
			ref.Namespace = k.Namespace
		}
		object := ref.Kind + "/" + ref.Namespace + "/" + ref.Name
		if seen[object] {
			continue
		}
		seen[object] = true
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(schema.GroupVersionKind{Group: sourcev1.GroupVersion.Group, Version: sourcev1.GroupVersion.Version, Kind: ref.Kind})
		err := c.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, o)
		if apimeta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if size, _, _ := unstructured.NestedInt64(o.Object, "status", "artifact", "size"); size > source.MaxDownload {
			return &fault.Fault{Code: "SLU-KUBERNETES-038", Hop: fault.HopAPI, Object: object, Exit: fault.ExitNo,
				Seen: fmt.Sprintf("its artifact has %d MiB", size>>20), Why: fmt.Sprintf("Sluice unpacks artifacts in memory, and reads up to %d MiB", source.MaxDownload>>20),
				Fix: "leave out what no Kustomization reads, in .sourceignore or spec.ignore, and run the command again"}
		}
	}
	return nil
}
