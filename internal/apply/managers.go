package apply

import (
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/plan"
)

const managedFields = "/metadata/managedFields"

// absorb gives the fields of the managers to the applying manager: its last entry takes them in, or the first of theirs
// takes its name. It returns nil if they have none. Entries of subresources stay whose they are.
//
// Flux's library does the same, and brings half of kubectl with it; a test holds the two together.
func absorb(entries []metav1.ManagedFieldsEntry, managers []plan.Manager, manager string) ([]metav1.ManagedFieldsEntry, error) {
	ours := -1
	for i, e := range entries {
		if e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply {
			ours = i
		}
	}
	var kept []metav1.ManagedFieldsEntry
	var into *metav1.ManagedFieldsEntry
	if ours >= 0 {
		into = entries[ours].DeepCopy()
	}
	absorbed := false
	for i, e := range entries {
		switch {
		case i == ours:
		case !gives(e, managers):
			kept = append(kept, e)
		case into == nil:
			into, absorbed = e.DeepCopy(), true
			into.Manager, into.Operation = manager, metav1.ManagedFieldsOperationApply
		default:
			fields, err := unite(into.FieldsV1, e.FieldsV1)
			if err != nil {
				return nil, fmt.Errorf("field manager %s: %w", e.Manager, err)
			}
			into.FieldsV1, absorbed = fields, true
		}
	}
	if !absorbed {
		return nil, nil
	}
	return append(kept, *into), nil
}

func gives(e metav1.ManagedFieldsEntry, managers []plan.Manager) bool {
	for _, m := range managers {
		if e.Subresource == "" && e.Operation == m.Operation && strings.HasPrefix(e.Manager, m.Prefix) {
			return true
		}
	}
	return false
}

// unite returns the fields that are in a or b, either of which may be nil.
func unite(a, b *metav1.FieldsV1) (*metav1.FieldsV1, error) {
	if a == nil || b == nil {
		if a == nil {
			a = b
		}
		return a, nil
	}
	var x, y fields
	if err := json.Unmarshal(a.GetRawBytes(), &x); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b.GetRawBytes(), &y); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(x.with(y))
	if err != nil {
		return nil, err
	}
	return metav1.NewFieldsV1(string(raw)), nil
}

// fields is a node of the format FieldsV1: what is below it, by path element, and under "." an empty node if the place
// itself is owned too. A node without anything below it is owned, and says so by being empty.
type fields map[string]fields

func (f fields) with(g fields) fields {
	switch {
	case len(f) == 0 && len(g) == 0:
		return fields{}
	case len(f) == 0:
		f, g = g, f
	}
	both := make(fields, len(f)+len(g)+1)
	for k, below := range f {
		both[k] = below
	}
	if len(g) == 0 {
		both["."] = fields{}
	}
	for k, below := range g {
		if have, ok := both[k]; ok {
			below = have.with(below)
		}
		both[k] = below
	}
	return both
}

// speakOf makes every entry speak of the version. It returns nil if all do.
func speakOf(entries []metav1.ManagedFieldsEntry, apiVersion string) []metav1.ManagedFieldsEntry {
	all, changed := make([]metav1.ManagedFieldsEntry, 0, len(entries)), false
	for _, e := range entries {
		changed = changed || e.APIVersion != apiVersion
		e.APIVersion = apiVersion
		all = append(all, e)
	}
	if !changed {
		return nil
	}
	return all
}
