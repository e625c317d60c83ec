package reconcile

import (
	"sync"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-gitops/sluice/internal/source"
)

// Revisions is where the GitRepository controller leaves the current revision of every source and the Kustomization
// controller finds it. Trees are handed over in memory: nothing is packed, stored or downloaded on the way.
type Revisions struct {
	mu      sync.RWMutex
	current map[types.NamespacedName]*source.Revision
	moved   chan event.GenericEvent
}

// NewRevisions returns an empty registry.
func NewRevisions() *Revisions {
	return &Revisions{
		current: map[types.NamespacedName]*source.Revision{},
		moved:   make(chan event.GenericEvent, 64),
	}
}

// Get returns the source's current revision, or nil when none was fetched by this process yet.
func (r *Revisions) Get(name types.NamespacedName) *source.Revision {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.current[name]
}

// Put makes rev the source's current revision and, when that is news, tells whoever listens on Moved.
func (r *Revisions) Put(obj *sourcev1.GitRepository, rev *source.Revision) {
	name := types.NamespacedName{Namespace: obj.Namespace, Name: obj.Name}
	r.mu.Lock()
	last := r.current[name]
	r.current[name] = rev
	r.mu.Unlock()
	if last == nil || last.Name != rev.Name {
		r.moved <- event.GenericEvent{Object: obj}
	}
}

// Delete forgets a source.
func (r *Revisions) Delete(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.current, name)
}

// Moved delivers a GitRepository each time its revision changed.
func (r *Revisions) Moved() <-chan event.GenericEvent { return r.moved }
