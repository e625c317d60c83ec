package reconcile

import (
	"github.com/fluxcd/pkg/apis/meta"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// ignoreOf returns spec.ignore, compiled. Every rule without a target holds for all objects; in Flux only the last does.
func ignoreOf(obj *Kustomization) (plan.Ignore, error) {
	rules := make([]plan.IgnoreRule, len(obj.Spec.Ignore))
	for i, r := range obj.Spec.Ignore {
		rules[i].Paths = r.Paths
		if t := r.Target; t != nil {
			rules[i] = plan.IgnoreRule{
				Paths: r.Paths, Group: t.Group, Version: t.Version, Kind: t.Kind, Namespace: t.Namespace, Name: t.Name,
				LabelSelector: t.LabelSelector, AnnotationSelector: t.AnnotationSelector,
			}
		}
	}
	ignore, err := plan.CompileIgnore(rules)
	if err != nil {
		return nil, &fault.Fault{
			Code: "SLU-API-005", Hop: fault.HopAPI, Object: "Kustomization/" + obj.Namespace + "/" + obj.Name,
			Seen: "spec.ignore cannot be used", Why: err.Error(),
			Fix: "correct the field that the message names", Reason: meta.ReconciliationFailedReason, Err: err,
		}
	}
	return ignore, nil
}
