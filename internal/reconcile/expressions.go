package reconcile

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/health"
	"github.com/sluice-gitops/sluice/internal/inventory"
)

// rules are the compiled expressions of one Kustomization.
type rules struct {
	health map[schema.GroupKind]healthRule
	ready  map[int]*expression // by index in spec.dependsOn
}

// healthRule judges objects of one kind, or of one group. Flux asks in this order (its RFC 9).
type healthRule struct{ inProgress, failed, current *expression }

// rulesOf compiles every expression of the spec and reports all that are wrong at once, before anything is fetched or
// applied.
func rulesOf(obj *Kustomization) (*rules, error) {
	r := &rules{health: map[schema.GroupKind]healthRule{}, ready: map[int]*expression{}}
	var wrong []error
	get := func(field, text string, variables ...string) *expression {
		e, err := compile(text, variables...)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", field, err))
		}
		return e
	}
	for i, c := range obj.Spec.HealthCheckExprs {
		field := fmt.Sprintf("spec.healthCheckExprs[%d]", i)
		gk := schema.FromAPIVersionAndKind(c.APIVersion, c.Kind).GroupKind()
		if _, twice := r.health[gk]; twice {
			wrong = append(wrong, fmt.Errorf("%s: another entry is about %s already", field, gk))
			continue
		}
		r.health[gk] = healthRuleOf(field, c.HealthCheckExpressions, get)
		if c.Current == "" {
			wrong = append(wrong, fmt.Errorf("%s.current is missing", field))
		}
	}
	for i, d := range obj.Spec.DependsOn {
		if d.ReadyExpr != "" {
			r.ready[i] = get(fmt.Sprintf("spec.dependsOn[%d].readyExpr", i), d.ReadyExpr, "self", "dep")
		}
	}
	if len(wrong) == 0 {
		return r, nil
	}
	err := errors.Join(wrong...)
	return nil, &fault.Fault{
		Code: "SLU-API-003", Hop: fault.HopAPI, Object: "Kustomization/" + obj.Namespace + "/" + obj.Name,
		Seen: "an expression cannot be used", Why: err.Error(), Fix: "correct the expression; CEL's language: https://cel.dev",
		Reason: meta.InvalidCELExpressionReason, Err: err,
	}
}

func healthRuleOf(field string, c kustomize.HealthCheckExpressions, get func(string, string, ...string) *expression) (r healthRule) {
	if c.InProgress != "" {
		r.inProgress = get(field+".inProgress", c.InProgress)
	}
	if c.Failed != "" {
		r.failed = get(field+".failed", c.Failed)
	}
	if c.Current != "" {
		r.current = get(field+".current", c.Current)
	}
	return r
}

// about says whether the spec has an expression for objects of id's kind, which needs the whole object.
func (r *rules) about(id inventory.ID) bool {
	if r == nil {
		return false
	}
	_, kind := r.health[id.GroupKind()]
	_, group := r.health[schema.GroupKind{Group: id.Group}]
	return kind || group
}

// judge is health.Of, with the user's own rules for the kinds that have some.
func (r *rules) judge(ctx context.Context, id inventory.ID, live *unstructured.Unstructured) health.Verdict {
	var rule healthRule
	found := false
	if r != nil {
		if rule, found = r.health[id.GroupKind()]; !found {
			rule, found = r.health[schema.GroupKind{Group: id.Group}]
		}
	}
	if !found || live == nil {
		return health.Of(id, live)
	}
	// As in Flux: an object whose controller has not seen its newest generation is not asked.
	observed, ok, err := unstructured.NestedInt64(live.Object, "status", "observedGeneration")
	if err == nil && ok && observed != live.GetGeneration() {
		return health.Verdict{ID: id, State: health.InProgress, Message: "its controller has not observed the newest generation"}
	}
	for _, e := range []struct {
		*expression
		name  string
		state health.State
	}{{rule.inProgress, "inProgress", health.InProgress}, {rule.failed, "failed", health.Failed}, {rule.current, "current", health.Current}} {
		if e.expression == nil {
			continue
		}
		switch yes, err := e.holds(ctx, live.Object); {
		case err != nil:
			return health.Verdict{ID: id, State: health.Unknown, Message: err.Error()}
		case yes:
			return health.Verdict{ID: id, State: e.state, Message: "healthCheckExprs: " + e.name + " holds"}
		}
	}
	return health.Verdict{ID: id, State: health.InProgress, Message: "healthCheckExprs: current does not hold yet"}
}

// readyBy evaluates a readyExpr on the two objects.
func readyBy(ctx context.Context, e *expression, self, dep *Kustomization) (bool, error) {
	vars := map[string]any{}
	for name, k := range map[string]*Kustomization{"self": self, "dep": dep} {
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(k)
		if err != nil {
			return false, err
		}
		m["apiVersion"], m["kind"] = kustomizev1.GroupVersion.String(), kustomizev1.KustomizationKind
		vars[name] = m
	}
	return e.holds(ctx, vars)
}
