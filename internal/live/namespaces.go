package live

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"

	"github.com/sluice-gitops/sluice/internal/inventory"
)

// namespaces watches the names of all namespaces, whoever made them. That one does not exist is what an apply of a new
// one has to know first.
type namespaces struct {
	client metadata.Interface

	once  sync.Once
	mu    sync.RWMutex
	names map[string]bool // nil: not known
}

// Absent says that no such object exists, but for the time that events take. It knows of namespaces alone, from a moment
// after it was asked first, and of nothing while their watch is interrupted or not allowed.
func (c *Cache) Absent(id inventory.ID) bool {
	if id.Group != "" || id.Kind != "Namespace" {
		return false
	}
	n := c.namespaces
	n.once.Do(func() {
		c.mu.RLock()
		defer c.mu.RUnlock()
		if c.life != nil && !c.ended {
			c.watches.Go(func() { n.run(c.life) })
		}
	})
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.names != nil && !n.names[id.Name]
}

func (n *namespaces) run(ctx context.Context) {
	delay := backoff().DelayFunc()
	for ctx.Err() == nil {
		start := time.Now()
		err := n.follow(ctx)
		n.set(nil)
		if time.Since(start) > calm {
			delay = backoff().DelayFunc()
		}
		wait := delay()
		if hold := hopeless(err); hold > 0 {
			wait = hold
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// follow lists the namespaces and keeps their names up to date until the watch ends.
func (n *namespaces) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := n.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	list, err := all.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	w, err := all.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion, AllowWatchBookmarks: true})
	if err != nil {
		return err
	}
	defer w.Stop()
	names := make(map[string]bool, len(list.Items))
	for i := range list.Items {
		names[list.Items[i].Name] = true
	}
	n.set(names)
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	for {
		select {
		case e, ok := <-w.ResultChan():
			if !ok || e.Type == watch.Error {
				return nil
			}
			quiet.Reset(silence)
			if o, is := e.Object.(*metav1.PartialObjectMetadata); is && e.Type != watch.Bookmark {
				n.see(o.Name, e.Type != watch.Deleted)
			}
		case <-quiet.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *namespaces) set(names map[string]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names = names
}

func (n *namespaces) see(name string, exists bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if exists {
		n.names[name] = true
	} else {
		delete(n.names, name)
	}
}
