package apply

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// Known knows how objects were left and whether they still stand so; live.Cache is one. It must be of the cluster that
// is applied to.
type Known interface {
	// Settled says that applying desired would change nothing, and the live object's UID. If it is false, Left
	// follows, whatever comes of the apply.
	Settled(desired *unstructured.Unstructured) (types.UID, bool)

	// Left tells how the object was left, whole, as the API server returned it; nil: not as desired. It is not kept.
	// owned says that managedFields give us every field that is desired, which takes no write if another manager has
	// the field at our value.
	Left(owner plan.Owner, desired, left *unstructured.Unstructured, owned bool)

	// Absent says that no such object exists. If it is false, nothing is known.
	Absent(id inventory.ID) bool

	// Released tells that the object isn't owner's from here on; before a deletion, because that will be seen.
	Released(owner plan.Owner, id inventory.ID)
}

// Knowing returns an Applier whose Apply sends no request for objects that k says are settled, and whose Apply and Prune
// tell k what they did.
func (a *Applier) Knowing(k Known) *Applier {
	b := *a
	b.known = k
	return &b
}

// ignorance knows of nothing.
type ignorance struct{}

func (ignorance) Settled(*unstructured.Unstructured) (types.UID, bool)                          { return "", false }
func (ignorance) Left(plan.Owner, *unstructured.Unstructured, *unstructured.Unstructured, bool) {}
func (ignorance) Absent(inventory.ID) bool                                                      { return false }
func (ignorance) Released(plan.Owner, inventory.ID)                                             {}

// recall makes the item of an object that needs no request, because it is settled; nil if it needs one.
func (a *Applier) recall(desired *unstructured.Unstructured) *item {
	if plan.Ask(desired) != plan.AskDryRun {
		return nil
	}
	uid, ok := a.known.Settled(desired)
	if !ok {
		return nil
	}
	e := inventory.EntryOf(desired)
	return &item{uid: uid, settled: true, change: plan.Change{
		ID: e.ID, Version: e.Version, Desired: desired, Action: plan.Unchanged, Reason: "it stands as it was left, and so does its manifest",
	}}
}

// release tells the Known of what left the desired set, under every name that an entry may stand for.
func (a *Applier) release(owner plan.Owner, gone inventory.Set) {
	for _, e := range gone.Entries() {
		for _, e.Name = range e.Spellings() {
			a.known.Released(owner, e.ID)
		}
	}
}

// left tells the Known how an item's object was left; once for each that it was asked about, whatever came of it.
func (a *Applier) left(owner plan.Owner, it *item) {
	if it.settled || it.told {
		return
	}
	it.told = true
	switch plan.Ask(it.change.Desired) {
	case plan.AskNothing, plan.AskExistence: // whatever becomes of it, the manifest doesn't mind
		a.known.Released(owner, it.change.ID)
		return
	}
	var left *unstructured.Unstructured
	if it.fault == nil && (it.written || it.change.Action == plan.Unchanged) {
		left = it.change.Live
	}
	a.known.Left(owner, it.change.Desired, left, it.written || !it.unowned)
}
