package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The hand-overs, by the names they have in results.json.
const (
	toSluice = "hand-over from Flux to Sluice"
	toFlux   = "hand-over from Sluice back to Flux"
)

// handOvers lets Flux apply the workload, Sluice take over, and Flux take it back, and counts what each did to the
// managed objects: both must be nothing.
func (o *options) handOvers(ctx context.Context, r *results) (err error) {
	dir, remove, err := o.folder()
	if err != nil {
		return err
	}
	defer func() { keepLogs(err, remove, dir) }()
	w, err := newWorkload(ctx, dir, o.apps, o.objects)
	if err != nil {
		return err
	}
	flux, err := o.crds(ctx, "flux")
	if err != nil {
		return err
	}
	ours, err := o.crds(ctx, "sluice")
	if err != nil {
		return err
	}
	s, err := newScene(ctx, o, dir, w, flux...)
	if s != nil {
		defer s.close()
	}
	if err != nil {
		return err
	}
	if s.peer, err = startPeer(ctx, "flux", o.bin, filepath.Join(dir, "flux"), s.kubeconfig); err != nil {
		return err
	}
	revision, err := w.head(ctx)
	if err != nil {
		return err
	}
	if _, err := s.firstSync(ctx, revision); err != nil {
		return err
	}
	for _, to := range []struct {
		name, work string
		crds       []string
	}{
		{"sluice", toSluice, ours},
		{"flux", toFlux, flux},
	} {
		s.peer.stop()
		s.peer = nil
		before, err := s.versions(ctx)
		if err != nil {
			return err
		}
		if err := s.install(to.crds...); err != nil {
			return err
		}
		s.track.stop() // a CRD that changes ends the watches of its objects
		if s.track, err = track(ctx, s.api.Resource(kustomizations).Namespace(home)); err != nil {
			return err
		}
		if s.peer, err = startPeer(ctx, to.name, o.bin, filepath.Join(dir, "then-"+to.name), s.kubeconfig); err != nil {
			return err
		}
		c, err := s.reconcileAll(ctx)
		if err != nil {
			progress("%s", s.track.summary())
			return fmt.Errorf("%s: %w", to.work, err)
		}
		after, err := s.versions(ctx)
		if err != nil {
			return err
		}
		var written, pruned float64
		for id, version := range before {
			switch now, there := after[id]; {
			case !there:
				pruned++
				progress("%s: pruned %s", to.work, id)
			case now != version:
				if written++; written <= 5 {
					progress("%s: wrote %s", to.work, id)
				}
			}
		}
		progress("%s: %d objects, %v written, %v pruned, %v write requests", to.work, len(before), written, pruned, c.objectWrites)
		// Both directions are Sluice's figures: it must take over, and leave behind, what needs no write.
		r.add("sluice", to.work, "objects written", "objects", written)
		r.add("sluice", to.work, "objects pruned", "objects", pruned)
	}
	return nil
}

// versions are the resource versions of everything that the workload's Namespaces hold, and of these.
func (s *scene) versions(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	for _, kind := range []schema.GroupVersionResource{
		namespaces, configMaps, secrets,
		{Version: "v1", Resource: "services"}, {Version: "v1", Resource: "serviceaccounts"},
		{Group: "apps", Version: "v1", Resource: "deployments"},
	} {
		list, err := s.api.Resource(kind).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		err = list.EachListItem(func(o runtime.Object) error {
			u := o.(*unstructured.Unstructured)
			if strings.HasPrefix(u.GetNamespace()+u.GetName(), "app-") {
				all[kind.Resource+" "+u.GetNamespace()+"/"+u.GetName()] = u.GetResourceVersion()
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(all) < s.work.apps*s.work.objects {
		return nil, fmt.Errorf("only %d objects at %s, want %d", len(all), time.Now().Format(time.TimeOnly), s.work.apps*s.work.objects)
	}
	return all, nil
}
