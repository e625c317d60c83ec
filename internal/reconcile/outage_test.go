package reconcile

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// soon is within what the fault matrix allows for recovery, 30 s, with time left for the work itself.
const soon = 15 * time.Second

func TestNoOutageMakesAnObjectWaitLong(t *testing.T) {
	l := retryAfterOutage[string]()
	if d := l.When("a"); d > time.Second {
		t.Errorf("the first retry comes after %v", d)
	}
	for range 1000 {
		if d := l.When("a"); d > soon {
			t.Fatalf("a retry waits %v", d)
		}
	}
	l.Forget("a")
	if d := l.When("a"); d > time.Second {
		t.Errorf("the first retry after a success comes after %v", d)
	}
}

// server is what an informer lists and watches; while it is down, nothing answers.
type server struct {
	down  error
	list  int
	watch int
	live  *watch.FakeWatcher
	mu    sync.Mutex
}

// with lets f read or change the server.
func (s *server) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *server) lister() toolscache.ListerWatcher {
	return &toolscache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.list++
			return &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}, s.down
		},
		WatchFuncWithContext: func(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.watch++
			if s.down != nil {
				return nil, s.down
			}
			s.live = watch.NewFakeWithChanSize(1, false)
			if o.SendInitialEvents != nil && *o.SendInitialEvents {
				s.live.Action(watch.Bookmark, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
					ResourceVersion: "1", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"},
				}})
			}
			return s.live, nil
		},
	}
}

// However long the API server was away, a watch is back soon after it, and a server that ends each watch at once is asked
// again at a steady pace.
func TestAWatchIsBackSoonAfterAnyOutage(t *testing.T) {
	for name, down := range map[string]error{
		"unreachable": errors.New("connect: connection refused"), "broken": apierrors.NewInternalError(errors.New("no")),
		"overloaded": apierrors.NewTooManyRequests("later", 1),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{}
				i := newInformer(s.lister(), &corev1.ConfigMap{}, 0, toolscache.Indexers{})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); i.RunWithContext(ctx) }()
				time.Sleep(time.Minute) // of the bubble's clock
				s.with(func() { s.down = down; s.live.Stop() })
				time.Sleep(time.Hour)
				s.with(func() {
					if asked := s.list + s.watch; asked > 2000 {
						t.Errorf("it asked %d times in an hour", asked)
					}
					s.down = nil
				})
				time.Sleep(soon)
				s.with(func() {
					s.live.Add(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "y", ResourceVersion: "2"}})
				})
				time.Sleep(time.Millisecond)
				if n := len(i.GetStore().List()); n != 1 {
					t.Errorf("%v after the server's return the cache has %d objects", soon, n)
				}
				for range 100 { // cut as soon as it is open
					s.with(func() { s.live.Stop() })
					time.Sleep(2 * time.Second)
				}
				var opened int
				s.with(func() { opened = s.watch; s.live.Stop() })
				time.Sleep(2 * time.Second)
				s.with(func() {
					if s.watch == opened {
						t.Error("a watch that was cut again and again was not opened again within 2 s")
					}
				})
				cancel()
				<-done
			})
		})
	}
}

func TestWhatIsRefusedIsHandedOn(t *testing.T) {
	s := &server{down: apierrors.NewResourceExpired("too old")}
	w := steadyWatch{toolscache.ToListerWatcherWithContext(s.lister())}
	if _, err := w.WatchWithContext(t.Context(), metav1.ListOptions{}); !apierrors.IsResourceExpired(err) || s.watch != 1 {
		t.Errorf("after %d attempts: %v", s.watch, err)
	}
	if _, err := w.ListWithContext(t.Context(), metav1.ListOptions{}); !apierrors.IsResourceExpired(err) || s.list != 1 {
		t.Errorf("after %d attempts: %v", s.list, err)
	}
}
