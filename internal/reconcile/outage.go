package reconcile

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// While the API server is away, everything asks for it again and again, at growing intervals. How far they grow decides
// how soon all is well once it is back. client-go's own go up to 1000 s for an object and to 60 s for a watch.
const (
	outageFirst   = 50 * time.Millisecond   // wait after a first failure; it doubles
	outageLongest = 8 * time.Second         // the longest, half as much again by chance
	watchShortest = 1100 * time.Millisecond // a watch that ends sooner is taken for ended then: under 1 s, reflectors back off
)

// retryAfterOutage paces the attempts that end in an error: those whose outcome could not be written. What fails for a
// reason of its own is told in its status, and waits as tellFailure says.
func retryAfterOutage[T comparable]() workqueue.TypedRateLimiter[T] {
	return spread[T]{workqueue.NewTypedItemExponentialFailureRateLimiter[T](outageFirst, outageLongest)}
}

// spread keeps many objects from coming back at once.
type spread[T comparable] struct {
	workqueue.TypedRateLimiter[T]
}

// When implements workqueue.TypedRateLimiter.
func (s spread[T]) When(item T) time.Duration { return byChance(s.TypedRateLimiter.When(item)) }

// byChance makes a wait up to half as long again.
func byChance(d time.Duration) time.Duration { return d + rand.N(d/2+1) }

// newInformer is client-go's informer over a steadyWatch.
func newInformer(lw toolscache.ListerWatcher, example runtime.Object, resync time.Duration, by toolscache.Indexers) toolscache.SharedIndexInformer {
	return toolscache.NewSharedIndexInformer(steadyWatch{toolscache.ToListerWatcherWithContext(lw)}, example, resync, by)
}

// steadyWatch asks again itself when the API server can't be reached or is in trouble, and lets no watch end at once, so
// that the reflector, whose back-off can't be set, has no reason to slow down. Refusals are handed on.
type steadyWatch struct {
	toolscache.ListerWatcherWithContext
}

// List implements cache.ListerWatcher.
func (s steadyWatch) List(opts metav1.ListOptions) (runtime.Object, error) {
	return s.ListWithContext(context.Background(), opts)
}

// Watch implements cache.ListerWatcher.
func (s steadyWatch) Watch(opts metav1.ListOptions) (watch.Interface, error) {
	return s.WatchWithContext(context.Background(), opts)
}

// ListWithContext implements cache.ListerWatcherWithContext.
func (s steadyWatch) ListWithContext(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	return insist(ctx, func() (runtime.Object, error) { return s.ListerWatcherWithContext.ListWithContext(ctx, opts) })
}

// WatchWithContext implements cache.ListerWatcherWithContext.
func (s steadyWatch) WatchWithContext(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	start := time.Now()
	in, err := insist(ctx, func() (watch.Interface, error) { return s.ListerWatcherWithContext.WatchWithContext(ctx, opts) })
	if err != nil {
		return nil, err
	}
	w := &longWatch{Interface: in, out: make(chan watch.Event), stopped: make(chan struct{})}
	go w.run(start.Add(watchShortest))
	return w, nil
}

// insist calls do until it succeeds, is refused, or ctx ends.
func insist[T any](ctx context.Context, do func() (T, error)) (T, error) {
	for wait := outageFirst; ; wait = min(2*wait, outageLongest) {
		v, err := do()
		if err == nil || !passing(err) || ctx.Err() != nil {
			return v, err
		}
		select {
		case <-time.After(byChance(wait)):
		case <-ctx.Done():
			return v, err
		}
	}
}

// passing says whether err is the trouble of a moment: the API server was not reached, is overloaded or is broken.
func passing(err error) bool {
	var refused apierrors.APIStatus
	return !errors.As(err, &refused) || refused.Status().Code >= 500 || apierrors.IsTooManyRequests(err)
}

// longWatch is a watch that ends no sooner than a time: a reflector backs off from one that ends at once.
type longWatch struct {
	watch.Interface
	out     chan watch.Event
	stopped chan struct{}
	once    sync.Once
}

// ResultChan implements watch.Interface.
func (w *longWatch) ResultChan() <-chan watch.Event { return w.out }

// Stop implements watch.Interface.
func (w *longWatch) Stop() {
	w.once.Do(func() { close(w.stopped) })
	w.Interface.Stop()
}

func (w *longWatch) run(until time.Time) {
	defer close(w.out)
	for e := range w.Interface.ResultChan() {
		select {
		case w.out <- e:
		case <-w.stopped:
			return
		}
	}
	select {
	case <-time.After(time.Until(until)):
	case <-w.stopped:
	}
}
