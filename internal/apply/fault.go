package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/inventory"
)

// errStage is the cause of a context that ends with the stage's time.
var errStage = errors.New("the stage's time is over")

// explain turns what the API server or the way to it said about one object into a fault. Faults of HopAPI would have
// met any other object as well.
func (a *Applier) explain(hop fault.Hop, id inventory.ID, err error) *fault.Fault {
	var known *fault.Fault
	if errors.As(err, &known) {
		return known
	}
	f := &fault.Fault{Hop: hop, Object: id.Display(), Seen: a.hide.Redact(err.Error()), Reason: "ReconciliationFailed", Err: a.safe(err)}
	prefix := "SLU-APPLY-"
	if hop == fault.HopPrune {
		f.Reason, prefix = "PruneFailed", "SLU-PRUNE-"
	}
	for _, rule := range rules {
		if c, ok := rule(id, err, f.Seen); ok {
			f.Code, f.Why, f.Fix = prefix+c.number, c.why, c.fix
			if c.systemic {
				f.Hop, f.Code, f.Object = fault.HopAPI, "SLU-API-"+c.number, ""
			}
			return f
		}
	}
	f.Code, f.Why = prefix+"099", "the API server refused it for a reason that is its own"
	f.Fix = "kubectl auth whoami && kubectl get --raw /readyz?verbose"
	return f
}

// safe returns what errors.Is and apierrors' questions can be put to, without the texts that may quote values.
func (a *Applier) safe(err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		s := status.Status()
		s.Message = a.hide.Redact(s.Message)
		if s.Details != nil {
			s.Details = &metav1.StatusDetails{
				Name: s.Details.Name, Group: s.Details.Group, Kind: s.Details.Kind, UID: s.Details.UID, RetryAfterSeconds: s.Details.RetryAfterSeconds,
			}
		}
		return &apierrors.StatusError{ErrStatus: s}
	}
	for _, known := range []error{context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, known) {
			return known
		}
	}
	return errors.New(a.hide.Redact(err.Error()))
}

// joined makes one fault of many: the first in plan order tells the story, and names the others.
func joined(faults []*fault.Fault) error {
	faults = slices.DeleteFunc(slices.Clone(faults), func(f *fault.Fault) bool { return f == nil })
	if len(faults) == 0 {
		return nil
	}
	if i := slices.IndexFunc(faults, func(f *fault.Fault) bool { return f.Hop == fault.HopAPI }); i >= 0 {
		return faults[i]
	}
	if len(faults) == 1 {
		return faults[0]
	}
	const named = 5
	first := *faults[0]
	var others strings.Builder
	errs := []error{faults[0]}
	for i, f := range faults[1:] {
		errs = append(errs, f)
		if i < named {
			fmt.Fprintf(&others, "; %s: %s", f.Object, firstOf(f.Why, f.Seen))
		}
	}
	if n := len(faults) - 1 - named; n > 0 {
		fmt.Fprintf(&others, "; and %d more", n)
	}
	first.Seen += fmt.Sprintf(" (and %d more objects failed%s)", len(faults)-1, others.String())
	first.Err = errors.Join(errs...)
	return &first
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func noNamespace(id inventory.ID) *fault.Fault {
	return &fault.Fault{
		Code: "SLU-APPLY-012", Hop: fault.HopApply, Object: id.Display(), Reason: "ReconciliationFailed",
		Seen: "namespace not specified", Why: "objects of this kind live in a namespace, and neither the manifest nor the Kustomization names one",
		Fix: "Set metadata.namespace in the manifest, or spec.targetNamespace of the Kustomization.",
	}
}

func terminating(id inventory.ID) *fault.Fault {
	f := &fault.Fault{
		Code: "SLU-APPLY-009", Hop: fault.HopApply, Object: id.Display(), Reason: "ReconciliationFailed",
		Seen: "it is being deleted", Why: "it can be made again only when its deletion is finished; finalizers may hold it",
		Fix: "kubectl get " + strings.ToLower(id.Kind) + " " + id.Name + " -o jsonpath='{.metadata.finalizers} {.status.conditions}'",
	}
	return f
}

func notReady(id inventory.ID, message string) *fault.Fault {
	return &fault.Fault{
		Code: "SLU-APPLY-013", Hop: fault.HopApply, Object: id.Display(), Reason: "ReconciliationFailed",
		Seen: "not " + stageOf(id) + ": " + message, Why: "the objects that need it can't be applied before",
		Fix: "kubectl describe " + strings.ToLower(id.Kind) + " " + id.Name,
	}
}

// in is the namespace part of a kubectl command about id.
func in(id inventory.ID) string {
	if id.Namespace == "" {
		return ""
	}
	return " -n " + id.Namespace
}
