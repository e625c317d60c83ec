package live

import (
	"unique"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// Standing says whether every entry stands as the owner's last apply left it, as far as trusted watches have shown: then
// applying the same manifests again would change nothing. Unlike Settled it begins nothing.
func (c *Cache) Standing(owner plan.Owner, entries []inventory.Entry) bool {
	h := unique.Make(owner)
	for _, e := range entries {
		k := c.kind(schema.GroupVersionKind{Group: e.Group, Version: e.Version, Kind: e.Kind})
		if !k.stands(h, place{e.Namespace, e.Name}) {
			return false
		}
	}
	return true
}

// Ending returns the entries that a trusted watch shows in the middle of their deletion: a finalizer holds them. Nothing
// that is applied to them stays.
func (c *Cache) Ending(entries []inventory.Entry) (going []inventory.Entry) {
	for _, e := range entries {
		k := c.kind(schema.GroupVersionKind{Group: e.Group, Version: e.Version, Kind: e.Kind})
		k.mu.Lock()
		if r := k.records[place{e.Namespace, e.Name}]; r != nil && k.trusted() && r.ending() {
			going = append(going, e)
		}
		k.mu.Unlock()
	}
	return going
}

func (k *kind) stands(owner unique.Handle[plan.Owner], at place) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.records[at]
	return r != nil && k.trusted() && r.left != nil && r.left.owner == owner && r.left.desired != digest{} &&
		!r.drifted() && !r.marked && r.flying == 0
}
