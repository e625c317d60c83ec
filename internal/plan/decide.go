package plan

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/inventory"
)

// Question is what has to be known about the live object before Decide.
type Question int

// The questions, from the cheapest.
const (
	AskNothing   Question = iota // the manifest alone decides
	AskExistence                 // whether the object exists, then AskDryRun if it does not
	AskDryRun                    // what a server-side apply would make of it
)

// Ask returns the question to put about the desired object.
func Ask(desired *unstructured.Unstructured) Question {
	switch {
	case unmanaged(desired) != "":
		return AskNothing
	case marked(desired, KeySSA, "IfNotPresent"):
		return AskExistence
	}
	return AskDryRun
}

// Live is what the API server said about one object.
type Live struct {
	Object    *unstructured.Unstructured // the object as it stands, if it was read; metadata alone will do for AskExistence
	DryRun    *unstructured.Unstructured // what an apply would make of it
	DryRunErr error                      // why an apply would be refused
	Settled   bool                       // the server has shown that an apply changes nothing
}

// exists says whether the object is there. A dry-run that creates has no resourceVersion to give.
func (l Live) exists() bool {
	return l.Object != nil || l.DryRun != nil && l.DryRun.GetResourceVersion() != ""
}

// marks returns the best view of the live object's metadata. The answer to a dry-run will do, since it holds what others
// set on the object.
func (l Live) marks() *unstructured.Unstructured {
	switch {
	case l.Object != nil:
		return l.Object
	case l.DryRun != nil:
		return l.DryRun
	}
	return &unstructured.Unstructured{}
}

// Decide returns what to do about the desired object. The error is l.DryRunErr, when there is nothing to do about it.
func (p *Plan) Decide(desired *unstructured.Unstructured, l Live) (Change, error) {
	c := Change{ID: inventory.IDOf(desired), Version: desired.GroupVersionKind().Version, Desired: desired}
	is := func(a Action, format string, args ...any) (Change, error) {
		c.Action, c.Reason = a, fmt.Sprintf(format, args...)
		return c, nil
	}
	live := l.marks()
	if mark := unmanaged(desired); mark != "" {
		return is(Skipped, "the manifest says %s", mark)
	}
	if mark := unmanaged(live); mark != "" {
		return is(Skipped, "the live object says %s", mark)
	}
	if l.exists() && marked(desired, KeySSA, "IfNotPresent") {
		return is(Skipped, "it exists, and the manifest says %s: IfNotPresent", KeySSA)
	}
	if l.DryRunErr != nil {
		if why := p.forced(desired, live); why != "" && l.Object != nil && Immutable(l.DryRunErr) {
			return is(Replaced, "an immutable field differs, and %s", why)
		}
		return c, l.DryRunErr
	}
	if !l.exists() {
		return is(Created, "it did not exist")
	}
	if !marked(desired, KeySSA, "Merge") && !marked(live, KeySSA, "Merge") {
		c.TakeOver, c.Remove = foreign(l.DryRun.GetManagedFields(), p.Managers()), Leftovers(l.DryRun)
		if len(c.TakeOver) > 0 {
			return is(Configured, "the fields of %s are taken over", strings.Join(c.TakeOver, ", "))
		}
		if len(c.Remove) > 0 {
			names := make([]string, len(c.Remove))
			for i, l := range c.Remove {
				names[i] = l.String()
			}
			return is(Configured, "%s is removed", strings.Join(names, ", "))
		}
	}
	if l.Settled {
		return is(Unchanged, "")
	}
	if l.Object == nil {
		return is(Configured, "it differs from the manifest")
	}
	fields := Changed(p.Ignore.Strip(l.Object, l.DryRun), p.Ignore.Strip(l.DryRun, l.DryRun))
	if len(fields) == 0 {
		return is(Unchanged, "")
	}
	if o, ok := OwnerOf(l.Object); ok && o != p.Owner {
		return is(Configured, "%s; Kustomization %s owned it until now", differ(fields), o)
	}
	return is(Configured, "%s", differ(fields))
}

func (p *Plan) forced(desired, live *unstructured.Unstructured) string {
	switch {
	case p.Force:
		return "spec.force is set"
	case marked(desired, KeyForce, "enabled"), marked(live, KeyForce, "enabled"):
		return KeyForce + " is enabled"
	}
	return ""
}

// DecidePrune returns what to do about an object that left the desired set. live is nil if it does not exist. applied
// holds the UIDs of what this very run applied: one object can be known under two groups (Ingress once was), and must
// not be deleted under its old name.
func (o Owner) DecidePrune(e inventory.Entry, live metav1.Object, applied map[types.UID]inventory.ID) Change {
	c := Change{ID: e.ID, Version: e.Version}
	is := func(a Action, format string, args ...any) Change {
		c.Action, c.Reason = a, fmt.Sprintf(format, args...)
		return c
	}
	if live == nil {
		return is(Gone, "it did not exist any more")
	}
	if id, ok := applied[live.GetUID()]; ok {
		return is(Kept, "it is the same object as %s, which was applied", id.Display())
	}
	if !o.Owns(live) {
		if other, ok := OwnerOf(live); ok {
			return is(Kept, "its labels name another Kustomization, %s", other)
		}
		return is(Kept, "its labels name no Kustomization")
	}
	if marked(live, KeyPrune, "disabled") {
		return is(Kept, "the live object says %s: disabled", KeyPrune)
	}
	if mark := unmanaged(live); mark != "" {
		return is(Kept, "the live object says %s", mark)
	}
	if live.GetDeletionTimestamp() != nil {
		return is(Gone, "it is being deleted already")
	}
	return is(Pruned, "it is no longer in the revision")
}
