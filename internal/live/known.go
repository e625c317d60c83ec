package live

import (
	"unique"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/health"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// Settled says whether an apply of the desired object would change nothing, as far as the watch has shown: the manifest
// is the one that was applied last, and the live object, whose UID is returned, is as that apply left it. Objects that
// others rest on (definitions, namespaces, classes) must be usable besides.
//
// If it is false, an apply is under way from here on, and Left must be called, whatever comes of it.
func (c *Cache) Settled(desired *unstructured.Unstructured) (types.UID, bool) {
	print := c.prints.desired(desired)
	k := c.kind(desired.GroupVersionKind())
	k.mu.Lock()
	defer k.mu.Unlock()
	at := place{desired.GetNamespace(), desired.GetName()}
	r := k.records[at]
	if r == nil {
		r = &record{}
		k.records[at] = r
	}
	usable := k.id(at).Stage() == inventory.Resources || r.state == health.Current
	if k.trusted() && r.left != nil && r.left.desired == print && !r.drifted() && !r.marked && usable && r.flying == 0 {
		return r.uid, true
	}
	r.flying++
	return "", false
}

// Left ends what a Settled that was false began. left is the object as the API server returned it: whole, with
// managedFields and the data of Secrets, of which only keyed hashes are kept. nil means that it was not, or could not be,
// brought to what is desired: it is not settled then, and a later change to it counts as drift from how it stands now.
// owned says that its managedFields give us all that is desired. They don't when another manager changed a field and
// changed it back: an apply has nothing to write, but the field is not ours, and only the whole object's fingerprint
// covers it.
func (c *Cache) Left(owner plan.Owner, desired, left *unstructured.Unstructured, owned bool) {
	var s *sighting
	if left != nil {
		if s = c.prints.see(left); s.owner == (plan.Owner{}) {
			s = nil // a webhook took the label off: no watch would show the object
		}
	}
	id, version := inventory.IDOf(desired), desired.GroupVersionKind().Version
	for _, k := range c.versions(id.GroupKind()) {
		if k.gvk.Version != version {
			k.release(id, func(*legacy) bool { return true })
		}
	}
	c.drifts.drop(id) // told before this apply, if it was not read yet; judged anew below
	k := c.kind(desired.GroupVersionKind())
	k.left(owner, place{id.Namespace, id.Name}, c.prints.desired(desired), s, owned)
	if s != nil {
		c.start(k, true)
	}
}

func (k *kind) left(owner plan.Owner, at place, desired digest, s *sighting, owned bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.records[at]
	if r == nil {
		r = &record{}
		k.records[at] = r
	}
	r.flying = max(0, r.flying-1)
	switch {
	case s != nil:
		if r.left == nil || s.rv == 0 || s.rv >= r.left.rv { // else another apply has answered later, and told first
			r.left = &legacy{owner: unique.Make(owner), desired: desired, print: s.print, uid: s.UID, rv: s.rv, ending: s.verdict.State == health.Terminating}
			if !owned {
				r.left.whole = s.whole
			}
		}
		k.seen(s)
		k.judge(at, r) // the watch may have shown something since
	case r.present:
		r.left = &legacy{owner: unique.Make(owner), print: r.print, uid: r.uid, rv: r.rv, ending: r.ending()}
	default:
		r.left = nil
	}
	k.sweep(at, r)
}

// Released says that the object is not, or soon not, owner's any more: its changes and its deletion are no drift. What
// another owner left meanwhile stays.
func (c *Cache) Released(owner plan.Owner, id inventory.ID) {
	h := unique.Make(owner)
	for _, k := range c.versions(id.GroupKind()) {
		if k.release(id, func(l *legacy) bool { return l.owner == h }) {
			c.drifts.drop(id)
		}
	}
}

func (k *kind) release(id inventory.ID, match func(*legacy) bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := place{id.Namespace, id.Name}
	r := k.records[at]
	if r == nil || r.left == nil || !match(r.left) {
		return false
	}
	r.left = nil
	k.sweep(at, r)
	return true
}

// Ignoring says which fields of the owner's objects are left to others: changes to them are no drift. What was left under
// other rules counts no longer.
func (c *Cache) Ignoring(owner plan.Owner, rules plan.Ignore) {
	old, _ := c.prints.ignore.Load(owner)
	if had, _ := old.(plan.Ignore); had.Equal(rules) {
		return
	}
	if len(rules) == 0 {
		c.prints.ignore.Delete(owner)
	} else {
		c.prints.ignore.Store(owner, rules)
	}
	c.Forget(owner)
}

// Forget releases everything that was left for the owner.
func (c *Cache) Forget(owner plan.Owner) {
	h := unique.Make(owner)
	for _, k := range c.all() {
		k.mu.Lock()
		for at, r := range k.records {
			if r.left != nil && r.left.owner == h {
				r.left = nil
				k.sweep(at, r)
			}
		}
		k.mu.Unlock()
	}
	c.moved.drop(owner)
}

// Verdict returns the health of an object that a watch shows or an apply left, and false if no watch vouches for it.
func (c *Cache) Verdict(id inventory.ID) (health.Verdict, bool) {
	v, known := health.Verdict{ID: id}, false
	for _, k := range c.versions(id.GroupKind()) {
		k.mu.Lock()
		r := k.records[place{id.Namespace, id.Name}]
		switch {
		case !k.trusted() || r == nil:
		case r.present:
			v.State, v.Message, known = r.state, r.message, true
		case r.left != nil && !known:
			v = health.Of(id, nil)
			known = true
		}
		done := known && r != nil && r.present
		k.mu.Unlock()
		if done {
			break
		}
	}
	return v, known
}
