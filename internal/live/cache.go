// Package live watches what we own, so that drift and health are known when they change and an object that stands as it
// was left costs no request.
//
// It stands beside apply: apply tells it how each object was left (Left), asks it whether that still holds (Settled), and
// reconcile is woken by what the watches show (Drifts, HealthMoved). It keeps no object, only its UID, resourceVersion,
// a keyed fingerprint of the fields that our field manager owns, and its health. It refuses to vouch for anything whose
// watch is not synced, writes nothing, and nothing that it holds is authoritative: a lost process starts with an empty
// cache and asks the API server.
//
// What happens to one object:
//
//	unknown ──Settled: false──→ in flight ──Left───────────→ settled ──Settled: true, no request──┐
//	   ↑                          │    ↑                       │ ↑                                │
//	   │                          │    └────Settled: false─────┤ └────────────────────────────────┘
//	   │                   Left(nil)                           │
//	   │                          ↓                            ↓ the watch shows another fingerprint, another UID,
//	   └───────Released────── as it stood ──the same──→ drifted   or the object's end: one Drift
//
// While an object is in flight, what the watch shows of it may be our own write; it is judged when Left tells.
package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// Options tune a Cache. The zero value is ready to use.
type Options struct {
	FieldManager string         // whose fields are ours; "kustomize-controller" if empty
	SyncTimeout  time.Duration  // how long Ensure waits, 10 s if 0
	Log          *slog.Logger   // nil: silent
	TakeOver     []plan.Manager // whose fields an apply takes over; plan.TakenOver if nil

	watchTimeout time.Duration // after which the API server ends a watch; the reflector's own 5 to 10 min if 0
}

// Cache holds what the watches show of one cluster's objects that bear an owner's label. It is safe for concurrent use.
type Cache struct {
	Options
	client dynamic.Interface
	mapper meta.RESTMapper
	prints printer
	drifts *queue[inventory.ID, Drift]
	moved  *queue[plan.Owner, plan.Owner]

	namespaces *namespaces

	started chan struct{} // closed by Start, after life is set
	life    context.Context
	watches sync.WaitGroup

	mu    sync.RWMutex
	ended bool
	kinds map[schema.GroupKind]map[string]*kind // by version
}

// New returns a Cache of the cluster of cfg. It watches as the user that cfg names, so that must be the controller itself.
func New(cfg *rest.Config, mapper meta.RESTMapper, opts Options) (*Cache, error) {
	if opts.FieldManager == "" {
		opts.FieldManager = "kustomize-controller"
	}
	if opts.SyncTimeout <= 0 {
		opts.SyncTimeout = 10 * time.Second
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // the API server's own priority and fairness is the throttle
	cfg.WarningHandler, cfg.WarningHandlerWithContext = rest.NoWarnings{}, nil
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	metas, err := metadata.NewForConfig(metadata.ConfigFor(cfg))
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	prints := newPrinter(opts.FieldManager)
	if opts.TakeOver != nil {
		prints.taken = opts.TakeOver
	}
	return &Cache{
		Options: opts, client: client, mapper: mapper, prints: prints,
		drifts: newQueue[inventory.ID, Drift](), moved: newQueue[plan.Owner, plan.Owner](),
		namespaces: &namespaces{client: metas},
		started:    make(chan struct{}), kinds: map[schema.GroupKind]map[string]*kind{},
	}, nil
}

// Start lets watches run until ctx ends, and returns when they have ended. It is called once.
func (c *Cache) Start(ctx context.Context) error {
	c.mu.Lock()
	c.life = ctx
	close(c.started)
	c.mu.Unlock()
	c.watches.Go(func() { c.drifts.run(ctx) })
	c.watches.Go(func() { c.moved.run(ctx) })
	<-ctx.Done()
	c.mu.Lock()
	c.ended = true // no watch starts from here on
	c.mu.Unlock()
	c.watches.Wait()
	return nil
}

// NeedLeaderElection says that the cache may run on every replica: it watches nothing before someone asks.
func (c *Cache) NeedLeaderElection() bool { return false }

// Ensure starts the watches of the kinds that are not watched yet, and returns when all have synced, when SyncTimeout is
// over, or when ctx ends. Its error names the kinds that can't be watched. It may be ignored: nothing is skipped for
// those.
func (c *Cache) Ensure(ctx context.Context, kinds []schema.GroupVersionKind) error {
	ctx, cancel := context.WithTimeout(ctx, c.SyncTimeout)
	defer cancel()
	select {
	case <-c.started:
	case <-ctx.Done():
		return errors.New("the watches were not started")
	}
	waiting := make(map[*kind]<-chan struct{}, len(kinds))
	for _, gvk := range kinds {
		k := c.kind(gvk)
		if waiting[k] == nil {
			waiting[k] = c.start(k, false)
		}
	}
	var errs []error
	for k, ready := range waiting {
		select {
		case <-ready:
		case <-ctx.Done():
		}
		if err := k.trouble(); err != nil {
			errs = append(errs, fmt.Errorf("watch %s: %w", k.gvk, err))
		}
	}
	return errors.Join(errs...)
}

// Drifts gives the objects that are not as they were left, as soon as a watch shows it; of several drifts of one object
// that nobody took yet, the last. It has one reader and gives nothing before Start.
func (c *Cache) Drifts() <-chan Drift { return c.drifts.out }

// HealthMoved gives the owners of objects whose health.State changed, each once however many changed since it was taken.
// It has one reader and gives nothing before Start.
func (c *Cache) HealthMoved() <-chan plan.Owner { return c.moved.out }

// kind returns the kind's records, made if there are none yet.
func (c *Cache) kind(gvk schema.GroupVersionKind) *kind {
	c.mu.RLock()
	k := c.kinds[gvk.GroupKind()][gvk.Version]
	c.mu.RUnlock()
	if k != nil {
		return k
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	versions := c.kinds[gvk.GroupKind()]
	if versions == nil {
		versions = map[string]*kind{}
		c.kinds[gvk.GroupKind()] = versions
	}
	if versions[gvk.Version] == nil {
		versions[gvk.Version] = &kind{gvk: gvk, records: map[place]*record{}, cache: c}
	}
	return versions[gvk.Version]
}

// versions returns what there is of a kind, in every version that it was applied in.
func (c *Cache) versions(gk schema.GroupKind) []*kind {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make([]*kind, 0, len(c.kinds[gk]))
	for _, k := range c.kinds[gk] {
		all = append(all, k)
	}
	return all
}

// all returns every kind.
func (c *Cache) all() []*kind {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var all []*kind
	for _, versions := range c.kinds {
		for _, k := range versions {
			all = append(all, k)
		}
	}
	return all
}
