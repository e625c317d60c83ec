// Package health says whether one live object does what it was applied for, and sums up many such verdicts.
//
// It reads the object's own status by kstatus's rules, as Flux's health checks do: conditions, observed generation,
// replica counts, and the known kinds' own fields. It asks nobody: the caller brings the live object, from a watch, a
// read or the answer to an apply. It refuses to call anything healthy that it could not read.
package health

import (
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/inventory"
)

// State is kstatus's word for where an object stands.
type State string

// The states. Only Current is healthy. Failed will not get better by itself; the others may.
const (
	Current     State = "Current"
	InProgress  State = "InProgress"
	Failed      State = "Failed"
	Terminating State = "Terminating"
	NotFound    State = "NotFound"
	Unknown     State = "Unknown"
)

// Verdict is the state of one object, with kstatus's reason for it ("Deployment is available. Replicas: 2").
type Verdict struct {
	ID      inventory.ID
	State   State
	Message string
}

// Of judges the live object; nil means that id does not exist.
func Of(id inventory.ID, live *unstructured.Unstructured) Verdict {
	v := Verdict{ID: id}
	if live == nil {
		v.State, v.Message = NotFound, "does not exist"
		return v
	}
	res, err := status.Compute(live)
	if err != nil {
		v.State, v.Message = Unknown, "its status can't be read: "+err.Error()
		return v
	}
	v.State, v.Message = State(res.Status), res.Message
	return v
}
