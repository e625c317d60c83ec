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

	"github.com/sluice-gitops/sluice/bench/lab"
)

// The hand-overs, by the names they have in results.json.
const (
	toSluice = "hand-over from Flux to Sluice"
	toFlux   = "hand-over from Sluice back to Flux"
)

// lookOften shortens the 30 s after which Flux looks again for an artifact that the former source-controller has served
// and the new one has not packed yet.
const lookOften = "--requeue-dependency=2s"

// handOver is what an engine that takes over did to the managed objects.
type handOver struct {
	work     string
	objects  int      // that were there before
	written  []string // ids of those whose resource version moved
	pruned   []string // ids of those that are gone
	requests float64  // write requests for managed objects, of whoever sent them
}

// handOvers lets Flux apply the workload, Sluice take over, and Flux take it back, and counts what each did to the
// managed objects: both must be nothing.
func (o *options) handOvers(ctx context.Context) (done []handOver, err error) {
	dir, remove, err := o.folder()
	if err != nil {
		return nil, err
	}
	defer func() { keepLogs(err, remove, dir) }()
	w, err := newWorkload(ctx, dir, o.apps, o.objects)
	if err != nil {
		return nil, err
	}
	flux, err := o.crds(ctx, "flux")
	if err != nil {
		return nil, err
	}
	ours, err := o.crds(ctx, "sluice")
	if err != nil {
		return nil, err
	}
	s, err := newScene(ctx, o, dir, w, flux...)
	if s != nil {
		defer s.close()
	}
	if err != nil {
		return nil, err
	}
	if s.artifacts, err = lab.FreeAddress(); err != nil {
		return nil, err
	}
	if err := s.start(ctx, "flux", o.bin, filepath.Join(dir, "flux"), lookOften); err != nil {
		return nil, err
	}
	revision, err := w.head(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.firstSync(ctx, revision); err != nil {
		return nil, err
	}
	for _, to := range []struct {
		name, work string
		crds       []string
	}{
		{"sluice", toSluice, ours},
		{"flux", toFlux, flux},
	} {
		h, err := s.takeOver(ctx, o, to.name, filepath.Join(dir, "then-"+to.name), to.crds)
		if err != nil {
			progress("%s", s.track.summary())
			return nil, fmt.Errorf("%s: %w", to.work, err)
		}
		h.work = to.work
		progress("%s: %d objects, %d written, %d pruned, %v write requests", h.work, h.objects, len(h.written), len(h.pruned), h.requests)
		done = append(done, h)
	}
	return done, nil
}

// takeOver ends the engine, starts another in its place, with further flags, and asks for everything once.
func (s *scene) takeOver(ctx context.Context, o *options, name, dir string, crds []string, flags ...string) (h handOver, err error) {
	s.peer.Stop()
	s.peer = nil
	before, err := s.versions(ctx)
	if err != nil {
		return h, err
	}
	count, err := s.requests(ctx)
	if err != nil {
		return h, err
	}
	if err := s.Install(crds...); err != nil {
		return h, err
	}
	s.track.stop() // a CRD that changes ends the watches of its objects
	if s.track, err = track(ctx, s.api.Resource(kustomizations).Namespace(home)); err != nil {
		return h, err
	}
	if err := s.start(ctx, name, o.bin, dir, append(flags, lookOften)...); err != nil {
		return h, err
	}
	if _, err := s.reconcileAll(ctx); err != nil {
		return h, err
	}
	after, err := s.versions(ctx)
	if err != nil {
		return h, err
	}
	end, err := s.requests(ctx)
	if err != nil {
		return h, err
	}
	h.objects, h.requests = len(before), end.objectWrites-count.objectWrites
	for id, version := range before {
		switch now, there := after[id]; {
		case !there:
			h.pruned = append(h.pruned, id)
		case now != version:
			h.written = append(h.written, id)
		}
	}
	return h, nil
}

// measureHandOvers adds both directions as Sluice's figures: it must take over, and leave behind, what needs no write.
func (o *options) measureHandOvers(ctx context.Context, r *results) error {
	done, err := o.handOvers(ctx)
	for _, h := range done {
		r.add("sluice", h.work, "objects written", "objects", float64(len(h.written)))
		r.add("sluice", h.work, "objects pruned", "objects", float64(len(h.pruned)))
	}
	return err
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
