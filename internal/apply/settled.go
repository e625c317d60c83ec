package apply

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// settledSlack covers the whole seconds in which both clocks below are told, and the rounding of each.
const settledSlack = 2 * time.Second

// settled says whether the answer to a dry-run proves that an apply would change nothing, so that the live object need
// not be read. The proof rests on how the API server keeps managedFields:
//
//   - An apply that changes a field's value or owner stamps the applier's entry with the server's current time. One that
//     changes neither leaves the entry's time alone (managedFieldsUpdater in apimachinery's managedfields).
//   - If the object differs after all only in those times, once defaulted and admitted, the store puts the old times back
//     (IgnoreManagedFieldsTimestampsTransformer, called from Store.Update, which dry-runs pass as well).
//
// So the entry in the answer was stamped either by this very request or in the past. The response's Date header is the
// same machine's clock, read when it answered; the request cannot have been stamped before Date minus its duration. An
// entry older than that is from the past: nothing changed. If the entry is younger, or the server says no date, nothing is
// proved, and the caller reads the object. A clock that was set back makes old entries look young, which is safe.
//
// What a mutating webhook would change elsewhere in the object doesn't count: we don't own it.
func settled(merged *unstructured.Unstructured, manager string, r *reply) bool {
	if r.date.IsZero() {
		return false
	}
	for _, e := range merged.GetManagedFields() {
		if e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" {
			return e.Time != nil && e.Time.Time.Before(r.date.Add(-r.took-settledSlack))
		}
	}
	return false
}

// fields returns what the applying manager owns of the object.
func (a *Applier) fields(u *unstructured.Unstructured) *metav1.FieldsV1 {
	for _, e := range u.GetManagedFields() {
		if e.Manager == a.FieldManager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" {
			return e.FieldsV1
		}
	}
	return nil
}
