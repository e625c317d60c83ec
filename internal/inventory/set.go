package inventory

import (
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
)

// Entry is a reference with the API version that the object was last applied in, without the group ("v1").
type Entry struct {
	ID
	Version string
}

// EntryOf returns the entry for u.
func EntryOf(u *unstructured.Unstructured) Entry {
	return Entry{ID: IDOf(u), Version: u.GroupVersionKind().Version}
}

// Set is a set of entries in apply order, at most one per ID. The zero value is empty. A Set is never changed once made.
type Set struct{ entries []Entry }

// New returns the set of the entries; of two with one ID the later counts.
func New(entries ...Entry) Set {
	byID := make(map[ID]Entry, len(entries))
	for _, e := range entries {
		byID[e.ID] = e
	}
	s := Set{entries: make([]Entry, 0, len(byID))}
	for _, e := range byID {
		s.entries = append(s.entries, e)
	}
	slices.SortFunc(s.entries, func(a, b Entry) int { return Compare(a.ID, b.ID) })
	return s
}

// Of returns the set of references to the objects.
func Of(objects []*unstructured.Unstructured) Set {
	entries := make([]Entry, len(objects))
	for i, u := range objects {
		entries[i] = EntryOf(u)
	}
	return New(entries...)
}

// FromStatus reads status.inventory; nil is an empty set. Every malformed reference is reported, and the readable ones
// are returned all the same.
func FromStatus(inv *kustomizev1.ResourceInventory) (Set, error) {
	if inv == nil {
		return Set{}, nil
	}
	var faults []error
	entries := make([]Entry, 0, len(inv.Entries))
	for _, ref := range inv.Entries {
		id, err := ParseID(ref.ID)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		entries = append(entries, Entry{ID: id, Version: ref.Version})
	}
	return New(entries...), errors.Join(faults...)
}

// Status returns the set as status.inventory holds it. The result is never nil, and its list is never null: the CRD
// requires one.
func (s Set) Status() *kustomizev1.ResourceInventory {
	inv := &kustomizev1.ResourceInventory{Entries: make([]kustomizev1.ResourceRef, len(s.entries))}
	for i, e := range s.entries {
		inv.Entries[i] = kustomizev1.ResourceRef{ID: e.ID.String(), Version: e.Version}
	}
	return inv
}

// Entries returns a copy of the entries in apply order.
func (s Set) Entries() []Entry { return slices.Clone(s.entries) }

// Len returns the number of entries.
func (s Set) Len() int { return len(s.entries) }

// Has says whether id is in the set.
func (s Set) Has(id ID) bool {
	_, ok := slices.BinarySearchFunc(s.entries, id, func(e Entry, id ID) int { return Compare(e.ID, id) })
	return ok
}

// Equal says whether both sets hold the same entries, versions included.
func (s Set) Equal(o Set) bool { return slices.Equal(s.entries, o.entries) }

// Union returns the entries of both; o's version counts where they differ.
func (s Set) Union(o Set) Set { return New(append(slices.Clone(s.entries), o.entries...)...) }

// Diff returns the entries whose object is not in o: with s the old and o the new inventory, what is stale. Versions do
// not matter, because an object that moved to another version is still the same object.
func (s Set) Diff(o Set) Set {
	var d Set
	for _, e := range s.entries {
		if !o.Has(e.ID) {
			d.entries = append(d.entries, e)
		}
	}
	return d
}
