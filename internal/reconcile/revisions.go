package reconcile

import (
	"sync"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/source"
)

// sourceKey names a source object: sources of two kinds may share a name.
type sourceKey struct {
	Kind string
	types.NamespacedName
}

func keyOf(kind, namespace, name string) sourceKey {
	return sourceKey{kind, types.NamespacedName{Namespace: namespace, Name: name}}
}

func gitKey(name types.NamespacedName) sourceKey { return sourceKey{sourcev1.GitRepositoryKind, name} }

// Revisions is where the controllers of the sources leave the current revision of each and the Kustomization
// controller finds it. Trees are handed over in memory: nothing is packed, stored or downloaded on the way.
type Revisions struct {
	mu      sync.RWMutex
	current map[sourceKey]*source.Revision
	sights  map[*source.Revision]*sight // of the current ones
	failed  map[sourceKey]error         // why a source has no revision
	moved   chan event.GenericEvent
}

// NewRevisions returns an empty registry.
func NewRevisions() *Revisions {
	return &Revisions{
		current: map[sourceKey]*source.Revision{},
		sights:  map[*source.Revision]*sight{},
		failed:  map[sourceKey]error{},
		moved:   make(chan event.GenericEvent, 64),
	}
}

// Get returns the source's current revision, or nil when none was fetched by this process yet.
func (r *Revisions) Get(key sourceKey) *source.Revision {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.current[key]
}

// sight is what everyone who renders a revision sees of it, each directory read once for all of them.
type sight struct {
	artifact *render.View // as Flux's consumers see it
	whole    *render.View // with what Flux leaves out
}

func newSight(rev *source.Revision) *sight {
	return &sight{render.NewView(source.Artifact(rev.Tree)), render.NewView(source.Whole(rev.Tree))}
}

// sight returns what is shared of the revision while it is current.
func (r *Revisions) sight(rev *source.Revision) *sight {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if s := r.sights[rev]; s != nil {
		return s
	}
	return newSight(rev)
}

// Put makes rev the current revision of the source obj and, when that is news, tells whoever listens on Moved. The same
// commit can be news: another spec.ignore or another included revision shows other files of it.
func (r *Revisions) Put(key sourceKey, obj client.Object, rev *source.Revision) {
	r.mu.Lock()
	last := r.current[key]
	if rev != last {
		delete(r.sights, last)
		r.sights[rev] = newSight(rev)
	}
	r.current[key] = rev
	delete(r.failed, key)
	r.mu.Unlock()
	if last == nil || last.Name != rev.Name || !sameTree(last.Tree, rev.Tree) {
		// A copy, because the caller goes on to write the object's status.
		r.moved <- event.GenericEvent{Object: obj.DeepCopyObject().(client.Object)}
	}
}

func sameTree(a, b source.Tree) bool {
	x, err := source.Stat(a, ".")
	if err != nil {
		return false
	}
	y, err := source.Stat(b, ".")
	return err == nil && x.Hash == y.Hash
}

// Delete forgets a source.
func (r *Revisions) Delete(key sourceKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sights, r.current[key])
	delete(r.current, key)
	delete(r.failed, key)
}

// Fail records why the source obj could not be brought up to date. A revision that it has stays; where there is none,
// whoever listens on Moved is told that there is something to tell.
func (r *Revisions) Fail(key sourceKey, obj client.Object, err error) {
	r.mu.Lock()
	news := r.current[key] == nil && (r.failed[key] == nil || r.failed[key].Error() != err.Error())
	r.failed[key] = err
	r.mu.Unlock()
	if news {
		// A copy, because the caller goes on to write the object's status.
		r.moved <- event.GenericEvent{Object: obj.DeepCopyObject().(client.Object)}
	}
}

// Failure returns what Fail recorded last, nil once Put followed it.
func (r *Revisions) Failure(key sourceKey) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.failed[key]
}

// Moved delivers a source object each time its revision changed.
func (r *Revisions) Moved() <-chan event.GenericEvent { return r.moved }
