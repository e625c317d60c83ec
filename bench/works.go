package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// The works, by the names they have in results.json.
const (
	firstSync    = "first sync"
	oneFile      = "one-file commit"
	reconcileAll = "reconcile all, nothing changed"
	intervalPass = "interval passes, nothing changed"
	handDeleted  = "owned object deleted by hand"
	handEdited   = "owned object edited by hand"
	memoryWork   = "memory"
)

// patience bounds a work: ten times what Flux takes for 200 Kustomizations.
func (s *scene) patience() time.Duration {
	return 3*time.Minute + time.Duration(s.work.apps)*2*time.Second
}

func (s *scene) firstSync(ctx context.Context, revision string) (cost, error) {
	return s.measure(ctx, func() error {
		if err := s.populate(ctx); err != nil {
			return err
		}
		return s.report(ctx, revision)
	})
}

// report waits until every Kustomization has applied the revision.
func (s *scene) report(ctx context.Context, revision string) error {
	return s.track.all(ctx, s.patience(), s.work.apps, func(v verdict) bool { return v.revision == revision })
}

// oneFile pushes a commit that changes one ConfigMap of one app, and tells the engine as a Git host's webhook does.
func (s *scene) oneFile(ctx context.Context) (cost, error) {
	s.level++
	app, level := s.work.apps*2/3, fmt.Sprintf("level-%d-%d", s.level, time.Now().UnixNano())
	seen, err := s.await(ctx, appName(app), "config-2", func(o *unstructured.Unstructured) bool {
		got, _, _ := unstructured.NestedString(o.Object, "data", "level")
		return got == level
	})
	if err != nil {
		return cost{}, err
	}
	revision, err := s.work.edit(ctx, app, level)
	if err != nil {
		return cost{}, err
	}
	var pushed time.Time
	c, err := s.measure(ctx, func() error {
		pushed = time.Now()
		if err := s.ask(ctx, gitRepositories, "apps", level); err != nil {
			return err
		}
		return s.report(ctx, revision)
	})
	if err != nil {
		return c, err
	}
	select {
	case at := <-seen:
		c.changed = at.Sub(pushed).Seconds()
	case <-time.After(10 * time.Second):
		return c, fmt.Errorf("the changed object never arrived")
	}
	return c, nil
}

// await gives the time at which a ConfigMap was first seen as want says, by watch.
func (s *scene) await(ctx context.Context, ns, name string, want func(*unstructured.Unstructured) bool) (<-chan time.Time, error) {
	w, err := s.api.Resource(configMaps).Namespace(ns).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return nil, err
	}
	seen := make(chan time.Time, 1)
	go func() {
		defer w.Stop()
		for e := range w.ResultChan() {
			if o, ok := e.Object.(*unstructured.Unstructured); ok && e.Type != watch.Deleted && want(o) {
				seen <- time.Now()
				return
			}
		}
	}()
	return seen, nil
}

func (s *scene) reconcileAll(ctx context.Context) (cost, error) {
	token := fmt.Sprint(time.Now().UnixNano())
	return s.measure(ctx, func() error {
		if err := s.each(ctx, func(ctx context.Context, name string) error { return s.ask(ctx, kustomizations, name, token) }); err != nil {
			return err
		}
		return s.track.all(ctx, s.patience(), s.work.apps, func(v verdict) bool { return v.handled == token })
	})
}

// setInterval gives a Kustomization another interval and waits until that is current.
func (s *scene) setInterval(ctx context.Context, interval string, names ...string) error {
	for _, name := range names {
		if err := s.patch(ctx, kustomizations, home, name, map[string]any{"spec": map[string]any{"interval": interval}}); err != nil {
			return err
		}
	}
	return s.track.all(ctx, s.patience(), s.work.apps, func(verdict) bool { return true })
}

// drift deletes an owned ConfigMap of one app and edits another's, both at an interval of a minute, and gives the
// seconds until each was put right: by watch, or else by the interval.
func (s *scene) drift(ctx context.Context) (deleted, edited float64, err error) {
	one, two := appName(0), appName(1)
	if err := s.setInterval(ctx, "1m", one, two); err != nil {
		return 0, 0, err
	}
	if err := s.settle(ctx); err != nil {
		return 0, 0, err
	}
	wait, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	maps := func(ns string) dynamic.ResourceInterface { return s.api.Resource(configMaps).Namespace(ns) }
	old, err := maps(one).Get(ctx, "config-2", metav1.GetOptions{})
	if err != nil {
		return 0, 0, err
	}
	back, err := s.await(wait, one, "config-2", func(o *unstructured.Unstructured) bool { return o.GetUID() != old.GetUID() })
	if err != nil {
		return 0, 0, err
	}
	right, err := s.await(wait, two, "config-2", level("info"))
	if err != nil {
		return 0, 0, err
	}
	<-right // as it stands; watched anew once it is wrong
	began := time.Now()
	if err := maps(one).Delete(ctx, "config-2", metav1.DeleteOptions{}); err != nil {
		return 0, 0, err
	}
	if err := s.patch(ctx, configMaps, two, "config-2", map[string]any{"data": map[string]any{"level": "by hand"}}); err != nil {
		return 0, 0, err
	}
	patched := time.Now()
	right, err = s.await(wait, two, "config-2", level("info"))
	if err != nil {
		return 0, 0, err
	}
	for range 2 {
		select {
		case at := <-back:
			deleted = at.Sub(began).Seconds()
		case at := <-right:
			edited = at.Sub(patched).Seconds()
		case <-wait.Done():
			return 0, 0, fmt.Errorf("drift was not put right within three minutes: %w", wait.Err())
		}
	}
	return deleted, edited, s.setInterval(ctx, quiet, one, two)
}

func level(want string) func(*unstructured.Unstructured) bool {
	return func(o *unstructured.Unstructured) bool {
		got, _, _ := unstructured.NestedString(o.Object, "data", "level")
		return got == want
	}
}

// intervals lets every Kustomization's interval of 30 s pass, and gives the cost of a minute, so of two rounds, as one.
func (s *scene) intervals(ctx context.Context) (cost, error) {
	err := s.each(ctx, func(ctx context.Context, name string) error {
		return s.patch(ctx, kustomizations, home, name, map[string]any{"spec": map[string]any{"interval": "30s"}})
	})
	if err != nil {
		return cost{}, err
	}
	if err := s.track.all(ctx, s.patience(), s.work.apps, func(verdict) bool { return true }); err != nil {
		return cost{}, err
	}
	before, err := s.requests(ctx)
	if err != nil {
		return cost{}, err
	}
	cpu, err := s.peer.cpu()
	if err != nil {
		return cost{}, err
	}
	select {
	case <-ctx.Done():
		return cost{}, ctx.Err()
	case <-time.After(time.Minute):
	}
	after, err := s.requests(ctx)
	if err != nil {
		return cost{}, err
	}
	end, err := s.peer.cpu()
	return cost{
		cpu: (end - cpu) / 2, status: (after.status - before.status) / 2,
		other: (after.other - before.other - float64(after.own-before.own)) / 2,
	}, err
}
