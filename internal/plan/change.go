package plan

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/inventory"
)

// Action is what happens to one object, in Flux's words where Flux has one.
type Action string

// The actions. Replaced, Kept and Gone have no word in Flux: it counts them as created, skipped and deleted.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
	Replaced   Action = "replaced" // deleted and created, because an immutable field differs
	Skipped    Action = "skipped"
	Pruned     Action = "deleted"
	Kept       Action = "kept" // left the desired set, but is not ours to delete
	Gone       Action = "gone" // left the desired set, and was not there any more
)

// Change is what happens to one object and why.
type Change struct {
	ID      inventory.ID
	Version string // API version, without the group
	Action  Action
	Reason  string // words for people; names fields, never values

	Desired  *unstructured.Unstructured // nil when pruning
	TakeOver []string                   // field managers whose fields become ours first
	Remove   []Leftover                 // what earlier appliers left in the metadata and that is removed first
	Warnings []string                   // what the API server warned of, such as deprecated versions

	// Live is what the API server last said about the object, without the data of Secrets and without managedFields.
	// After apply it is fresh enough to judge health by. Nil: the object does not exist, or nobody asked.
	Live *unstructured.Unstructured
}

// Writes says whether the change takes a request that changes the cluster.
func (c Change) Writes() bool {
	switch c.Action {
	case Created, Configured, Replaced, Pruned:
		return true
	}
	return false
}

// String gives "Deployment/apps/web configured: spec.replicas differs".
func (c Change) String() string {
	s := c.ID.Display() + " " + string(c.Action)
	if c.Reason != "" {
		s += ": " + c.Reason
	}
	return s
}
