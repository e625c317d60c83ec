package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
)

// verdict is what a Kustomization's status says.
type verdict struct {
	ready, message string
	revision       string // last applied
	handled        string // last reconcile request that was handled
	current        bool   // the status is of the present spec
}

// tracker follows the status of all Kustomizations through a watch.
type tracker struct {
	mu    sync.Mutex
	seen  map[string]verdict
	moved chan struct{} // closed and renewed at each event
	stop  context.CancelFunc
}

func track(ctx context.Context, c dynamic.ResourceInterface) (*tracker, error) {
	ctx, cancel := context.WithCancel(ctx)
	t := &tracker{seen: map[string]verdict{}, moved: make(chan struct{}), stop: cancel}
	// An informer, because the API server may cut the watch of a process that it finds slow.
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ObjectType: &unstructured.Unstructured{},
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return c.List(ctx, o) },
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return c.Watch(ctx, o)
			},
		},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    t.see,
			UpdateFunc: func(_, o any) { t.see(o) },
		},
	})
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		cancel()
		return nil, fmt.Errorf("watch the Kustomizations: %w", context.Cause(ctx))
	}
	return t, nil
}

// see notes what an object's status says.
func (t *tracker) see(o any) {
	u := o.(*unstructured.Unstructured)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen[u.GetName()] = verdictOf(u)
	close(t.moved)
	t.moved = make(chan struct{})
}

func verdictOf(o *unstructured.Unstructured) (v verdict) {
	v.revision, _, _ = unstructured.NestedString(o.Object, "status", "lastAppliedRevision")
	v.handled, _, _ = unstructured.NestedString(o.Object, "status", "lastHandledReconcileAt")
	observed, _, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	v.current = observed == o.GetGeneration()
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == "Ready" {
			v.ready, _ = c["status"].(string)
			v.message, _ = c["message"].(string)
		}
	}
	return v
}

// all waits until n Kustomizations are ready, of the present spec, and as want says.
func (t *tracker) all(ctx context.Context, timeout time.Duration, n int, want func(verdict) bool) error {
	end := time.NewTimer(timeout)
	defer end.Stop()
	for {
		t.mu.Lock()
		done, moved := 0, t.moved
		var behind string
		for name, v := range t.seen {
			if v.ready == "True" && v.current && want(v) {
				done++
			} else if behind == "" || v.ready == "False" {
				behind = fmt.Sprintf("%s: Ready=%s %s", name, v.ready, v.message)
			}
		}
		t.mu.Unlock()
		if done >= n {
			return nil
		}
		// Not at every event: the watcher must not take the CPU that is measured.
		pause := time.NewTimer(10 * time.Millisecond)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end.C:
			return fmt.Errorf("only %d of %d Kustomizations after %v; %s", done, n, timeout, behind)
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end.C:
			return fmt.Errorf("only %d of %d Kustomizations after %v; %s", done, n, timeout, behind)
		case <-moved:
		}
	}
}

// summary counts the Kustomizations by what their status says.
func (t *tracker) summary() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	count := map[verdict]int{}
	for _, v := range t.seen {
		count[v]++
	}
	return fmt.Sprintf("%+v", count)
}
