package live

import (
	"strconv"
	"unique"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/health"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// Drift is an object that is not as it was left, by no doing of ours.
type Drift struct {
	Owner   plan.Owner
	ID      inventory.ID
	Manager string // the other field manager that changed it last; empty if managedFields do not tell
	Deleted bool   // it is gone, or lost the owner's label: a watch can't tell one from the other
	Ending  bool   // its deletion has begun
}

// record is what is kept of one object: what was seen of it, and how it was left.
type record struct {
	uid     types.UID
	rv      uint64 // of what was seen last, the object's end included
	print   digest
	whole   digest
	present bool
	marked  bool // it says that it is not to be managed
	state   health.State
	message string
	owner   unique.Handle[plan.Owner] // by its labels
	manager unique.Handle[string]

	left   *legacy
	flying int // applies under way, see Settled
}

// legacy is how an apply left an object.
type legacy struct {
	owner   unique.Handle[plan.Owner]
	desired digest // zero: it was not brought to what was desired
	print   digest
	whole   digest // zero: what we own is all that we desire, and says enough
	uid     types.UID
	rv      uint64
	ending  bool // its deletion had begun
}

// ending says whether the object's deletion has begun. It will come to its end, whatever is written to it.
func (r *record) ending() bool { return r.present && r.state == health.Terminating }

// drifted says whether the object is not as it was left.
func (r *record) drifted() bool {
	return r.left != nil && (!r.present || r.ending() && !r.left.ending || r.uid != r.left.uid || r.print != r.left.print || r.left.whole != digest{} && r.left.whole != r.whole)
}

// number reads a resourceVersion; 0 if it is none that can be compared. Those of one resource are etcd's revisions, which
// only grow; Kubernetes documents that they may be compared since 1.35.
func number(version string) uint64 {
	n, _ := strconv.ParseUint(version, 10, 64)
	return n
}

// seen notes what a watch or an answer showed, unless something newer was seen before: a watch may lag behind the answers
// to our own writes, and one API server behind another. Without numbers to compare, what comes last counts.
func (k *kind) seen(s *sighting) {
	at := place{s.Namespace, s.Name}
	r := k.records[at]
	if r == nil {
		r = &record{}
		k.records[at] = r
	}
	if s.rv != 0 && s.rv < r.rv {
		return
	}
	was := r.ending()
	news := !r.present || r.uid != s.UID || r.print != s.print || r.left != nil && r.left.whole != digest{} && r.whole != s.whole
	moved := r.state != "" && r.state != s.verdict.State
	r.uid, r.rv, r.print, r.whole, r.present, r.marked = s.UID, s.rv, s.print, s.whole, true, s.marked
	r.state, r.message = s.verdict.State, s.verdict.Message
	r.owner, r.manager = unique.Make(s.owner), unique.Make(s.manager)
	if moved {
		k.tellMoved(r)
	}
	if news || r.ending() && !was {
		k.judge(at, r)
	}
}

// gone notes that the object was not there at a resourceVersion; 0 if that is unknown.
func (k *kind) gone(at place, r *record, rv uint64) {
	if !r.present && r.left == nil || rv != 0 && rv < r.rv {
		return
	}
	was := r.present
	r.present, r.rv, r.state, r.message = false, max(r.rv, rv), health.NotFound, ""
	if was {
		k.tellMoved(r)
		k.judge(at, r)
	}
	k.sweep(at, r)
}

// judge tells of a drift, unless it may be the work of an apply that is under way.
func (k *kind) judge(at place, r *record) {
	if r.flying > 0 || !r.drifted() {
		return
	}
	d := Drift{Owner: r.left.owner.Value(), ID: k.id(at), Deleted: !r.present, Ending: r.ending()}
	if r.present {
		d.Manager = r.manager.Value()
	}
	k.cache.drifts.put(d.ID, d)
}

func (k *kind) tellMoved(r *record) {
	owner := r.owner
	if r.left != nil {
		owner = r.left.owner
	}
	if o := owner.Value(); o != (plan.Owner{}) {
		k.cache.moved.put(o, o)
	}
}

// sweep drops a record that says nothing.
func (k *kind) sweep(at place, r *record) {
	if !r.present && r.left == nil && r.flying == 0 {
		delete(k.records, at)
	}
}

func (k *kind) id(at place) inventory.ID {
	return inventory.ID{Namespace: at.namespace, Name: at.name, Group: k.gvk.Group, Kind: k.gvk.Kind}
}
