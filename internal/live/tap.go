package live

import (
	"context"
	"errors"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"github.com/sluice-gitops/sluice/internal/plan"
)

// silence is how long a watch may say nothing. The API server sends a bookmark about every minute; a connection that is
// silent for longer may be dead, and is opened anew from where it was.
const silence = 100 * time.Second

// shortest is how long a watch lasts at least. The reflector resumes one that ends later where it was; one that was cut
// sooner it takes for a sign of trouble, lists anew and backs off.
const shortest = 1100 * time.Millisecond

// errCut is a kind's trouble between two watches.
var errCut = errors.New("the watch was cut")

// tap lists and watches the owned objects of one kind, and lets sightings through in their place.
type tap struct {
	kind     *kind
	resource dynamic.ResourceInterface
}

// List implements cache.ListerWatcher.
func (t *tap) List(opts metav1.ListOptions) (runtime.Object, error) {
	return t.ListWithContext(context.Background(), opts)
}

// Watch implements cache.ListerWatcher.
func (t *tap) Watch(opts metav1.ListOptions) (watch.Interface, error) {
	return t.WatchWithContext(context.Background(), opts)
}

// ListWithContext implements cache.ListerWatcherWithContext.
func (t *tap) ListWithContext(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	opts.LabelSelector = plan.LabelName
	list, err := t.resource.List(ctx, opts)
	if err != nil {
		return nil, err
	}
	return t.kind.cache.prints.seeAll(list), nil
}

// WatchWithContext implements cache.ListerWatcherWithContext.
func (t *tap) WatchWithContext(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	opts.LabelSelector = plan.LabelName
	if limit := t.kind.cache.watchTimeout; limit > 0 {
		opts.TimeoutSeconds = new(int64(limit / time.Second))
	}
	in, err := t.resource.Watch(ctx, opts)
	t.kind.opened(err)
	if err != nil {
		return nil, err
	}
	s := &stream{in: in, out: make(chan watch.Event), done: make(chan struct{}), prints: t.kind.cache.prints}
	s.cut = func() { t.kind.opened(errCut) } // nothing is vouched for until the next one
	go s.run(time.Now().Add(shortest))
	return s, nil
}

// stream is a watch whose objects are replaced by sightings. It ends when it has been silent for too long.
type stream struct {
	in     watch.Interface
	out    chan watch.Event
	prints printer
	cut    func()
	done   chan struct{}
	once   sync.Once
}

// ResultChan implements watch.Interface.
func (s *stream) ResultChan() <-chan watch.Event { return s.out }

// Stop implements watch.Interface.
func (s *stream) Stop() { s.once.Do(func() { close(s.done) }) }

func (s *stream) run(end time.Time) {
	defer close(s.out)
	defer s.in.Stop()
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	for {
		var e watch.Event
		var ok bool
		select {
		case e, ok = <-s.in.ResultChan():
		case <-quiet.C:
		case <-s.done:
		}
		if !ok {
			s.linger(end)
			return
		}
		quiet.Reset(silence)
		if u, is := e.Object.(*unstructured.Unstructured); is && e.Type != watch.Bookmark && e.Type != watch.Error {
			e.Object = s.prints.see(u)
		}
		select {
		case s.out <- e:
		case <-s.done:
			return
		}
	}
}

// linger tells that the watch has ended, and waits until it may be seen.
func (s *stream) linger(end time.Time) {
	select {
	case <-s.done:
		return
	default:
	}
	s.cut()
	select {
	case <-time.After(time.Until(end)):
	case <-s.done:
	}
}
