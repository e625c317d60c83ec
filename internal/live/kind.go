package live

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
)

// How long a kind that can't be watched is left alone before Ensure tries again.
const (
	holdUnserved  = 2 * time.Second // its definition may follow
	holdForbidden = time.Minute     // someone has to grant it
)

// errUnsynced is a kind's trouble while its first list is under way.
var errUnsynced = errors.New("not synced yet")

// kind is the watch of one kind in one version, and what it showed. Versions are apart, because managedFields and the
// fields that they name are of one version.
type kind struct {
	gvk   schema.GroupVersionKind
	cache *Cache

	mu      sync.Mutex
	records map[place]*record
	synced  bool          // the records hold what a list gave, and the watch went on from there
	open    bool          // the last attempt to open the watch succeeded
	running bool          // someone is at it
	ready   chan struct{} // closed when a list has succeeded or failed
	failed  error         // why it is neither synced nor open
	retry   time.Time     // when Ensure may try again
}

// place is where an object of a kind lives.
type place struct{ namespace, name string }

// trusted says whether the records are what the cluster holds, but for the time that events take.
func (k *kind) trusted() bool { return k.synced && k.open }

func (k *kind) trouble() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.trusted():
		return nil
	case k.failed != nil:
		return k.failed
	}
	return errUnsynced
}

// start sees to it that the kind is watched, and returns what is closed once that is decided. A kind whose watch failed a
// moment ago is left alone, unless it is known that it is served now.
func (c *Cache) start(k *kind, served bool) <-chan struct{} {
	c.mu.RLock()
	defer c.mu.RUnlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	hold := time.Now().Before(k.retry) && !(served && unserved(k.failed))
	if !k.running && !hold && c.life != nil && !c.ended {
		k.running, k.ready = true, make(chan struct{})
		c.watches.Go(func() { k.run(c.life) })
	}
	if k.ready == nil { // nothing may run yet, or any more
		k.failed, k.ready = errUnsynced, make(chan struct{})
		close(k.ready)
	}
	return k.ready
}

// unserved says whether the API server knows no such kind.
func unserved(err error) bool { return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) }

// hopeless says how long not to try again after err; 0: try on.
func hopeless(err error) time.Duration {
	switch {
	case unserved(err):
		return holdUnserved
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsMethodNotSupported(err):
		return holdForbidden
	}
	return 0
}

// run lists and watches until ctx ends or the kind can't be watched.
func (k *kind) run(ctx context.Context) {
	delay, start := backoff().DelayFunc(), time.Now()
	for ctx.Err() == nil {
		if time.Since(start) > calm { // it went well for a while
			delay = backoff().DelayFunc()
		}
		start = time.Now()
		k.relisting()
		err := k.listAndWatch(ctx)
		if k.lost(err) {
			k.cache.Log.Warn("not watched", "kind", k.gvk.String(), "error", err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay()):
		}
	}
	k.lost(ctx.Err())
}

// calm is how long a watch goes well until the next failure counts as the first.
const calm = 30 * time.Second

// backoff spreads attempts so that many controllers don't meet a recovering API server at once. Drift is not seen
// meanwhile, so the longest wait is what it may take to be seen once the server is back.
func backoff() wait.Backoff {
	return wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 8, Cap: 5 * time.Second}
}

// listAndWatch returns when the watch can't be resumed; the error is nil if listing anew will do.
func (k *kind) listAndWatch(ctx context.Context) error {
	mapping, err := k.cache.mapper.RESTMapping(k.gvk.GroupKind(), k.gvk.Version)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(logr.NewContext(ctx, logr.Discard())) // what the reflector logs is told by lost
	defer cancel()
	source := &tap{kind: k, resource: k.cache.client.Resource(mapping.Resource)}
	delays, logger := backoff(), logr.Discard()
	r := cache.NewReflectorWithOptions(source, nil, store{k}, cache.ReflectorOptions{
		Name: "live", TypeDescription: k.gvk.String(), Backoff: &delays, Logger: &logger,
	})
	return r.ListAndWatchWithContext(ctx)
}

// relisting notes that what follows the records is unknown until the next list.
func (k *kind) relisting() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.synced, k.open = false, false
	select {
	case <-k.ready:
		k.ready = make(chan struct{})
	default:
	}
}

// lost notes why the watch ended and whether that is the end of the run. If the kind itself is gone, so are its objects.
func (k *kind) lost(err error) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open = false
	if err == nil {
		return false
	}
	k.failed = err
	k.decided()
	hold := hopeless(err)
	if hold == 0 && !errors.Is(err, context.Canceled) {
		return false
	}
	k.synced, k.running, k.retry = false, false, time.Now().Add(hold)
	if unserved(err) {
		for at, r := range k.records {
			k.gone(at, r, 0)
		}
	}
	return true
}

// opened notes the outcome of an attempt to open the watch.
func (k *kind) opened(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open = err == nil; err != nil {
		k.failed = err
	}
}

// decided lets those go on who wait for the watch.
func (k *kind) decided() {
	select {
	case <-k.ready:
	default:
		close(k.ready)
	}
}

// store receives what the reflector gets, and keeps records of it.
type store struct{ *kind }

// Add implements cache.ReflectorStore.
func (s store) Add(o any) error { return s.Update(o) }

// Update implements cache.ReflectorStore.
func (s store) Update(o any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen(o.(*sighting))
	return nil
}

// Delete implements cache.ReflectorStore. It is also what a watch with a label selector calls the loss of the label.
func (s store) Delete(o any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := o.(*sighting)
	at := place{seen.Namespace, seen.Name}
	if r := s.records[at]; r != nil {
		s.gone(at, r, seen.rv)
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (s store) Replace(objects []any, version string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	listed := make(map[place]bool, len(objects))
	for _, o := range objects {
		seen := o.(*sighting)
		listed[place{seen.Namespace, seen.Name}] = true
		s.seen(seen)
	}
	for at, r := range s.records {
		if !listed[at] {
			s.gone(at, r, number(version))
		}
	}
	// With a plain list the watch is opened after this, from the list's version: no event falls between.
	s.synced, s.open, s.failed = true, true, nil
	s.decided()
	return nil
}

// Resync implements cache.ReflectorStore.
func (s store) Resync() error { return nil }

var _ cache.ReflectorStore = store{}
var _ metav1.Object = &sighting{}
