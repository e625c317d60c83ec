package reconcile

import (
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// conditions edits a list of conditions for one generation of an object. Flux's rules: Ready says how the last attempt
// ended, Reconciling stands only while work is under way or will be retried, Stalled only when no retry can help.
type conditions struct {
	list       *[]metav1.Condition
	generation int64
}

func (c conditions) set(kind string, status metav1.ConditionStatus, reason, message string) {
	if len(message) > kustomizev1.MaxConditionMessageLength {
		message = strings.ToValidUTF8(message[:kustomizev1.MaxConditionMessageLength-3], "") + "..."
	}
	apimeta.SetStatusCondition(c.list, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: c.generation,
	})
}

func (c conditions) drop(kinds ...string) {
	for _, k := range kinds {
		apimeta.RemoveStatusCondition(c.list, k)
	}
}

// holds says whether the condition is true, for the generation at hand.
func (c conditions) holds(kind string) bool {
	x := apimeta.FindStatusCondition(*c.list, kind)
	return x != nil && x.Status == metav1.ConditionTrue && x.ObservedGeneration == c.generation
}

// fails says whether the condition is false.
func (c conditions) fails(kind string) bool { return apimeta.IsStatusConditionFalse(*c.list, kind) }

// ready ends an attempt well.
func (c conditions) ready(reason, message string) {
	c.drop(meta.ReconcilingCondition, meta.StalledCondition)
	c.set(meta.ReadyCondition, metav1.ConditionTrue, reason, message)
}

// progressing says that work is under way; Ready keeps its last verdict only if there was one.
func (c conditions) progressing(message string) {
	c.drop(meta.StalledCondition)
	c.set(meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingReason, message)
	c.set(meta.ReadyCondition, metav1.ConditionUnknown, meta.ProgressingReason, message)
}

// failed ends an attempt with a failure that will be retried.
func (c conditions) failed(reason, message string) {
	c.drop(meta.StalledCondition)
	c.set(meta.ReadyCondition, metav1.ConditionFalse, reason, message)
	c.set(meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingWithRetryReason, message)
}

// stalled ends an attempt with a failure that only an edit of the object can mend.
func (c conditions) stalled(reason, message string) {
	c.drop(meta.ReconcilingCondition)
	c.set(meta.ReadyCondition, metav1.ConditionFalse, reason, message)
	c.set(meta.StalledCondition, metav1.ConditionTrue, reason, message)
}

// reasonOf is the condition reason of an error: its fault's own, else the caller's default.
func reasonOf(err error, fallback string) string {
	if f := fault.From(err); f != nil && f.Reason != "" {
		return f.Reason
	}
	return fallback
}

// terminal tells failures that no retry can mend.
func terminal(err error) bool {
	switch reasonOf(err, "") {
	case "UnsupportedField", "AccessDenied", meta.InvalidCELExpressionReason, meta.InvalidURLReason, meta.FeatureGateDisabledReason:
		return true
	}
	return false
}
