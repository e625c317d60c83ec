package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/envsubst"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// substitution replaces ${var} in the objects' YAML, as spec.postBuild says. A nil one leaves objects alone.
type substitution struct{ vars map[string]string }

// substituteKey is the label or annotation that, as "disabled", exempts an object.
const substituteKey = "kustomize.toolkit.fluxcd.io/substitute"

var varName = lazyregexp.New(`^[_[:alpha:]][_[:alpha:][:digit:]]*$`)

// substitution gathers the variables; nil if there is nothing to substitute.
func (r *renderer) substitution() (*substitution, error) {
	post := r.req.Kustomization.Spec.PostBuild
	if post == nil {
		return nil, nil
	}
	vars := map[string]string{}
	for _, from := range []map[string]string{r.req.Vars, post.Substitute} {
		for name, value := range from {
			vars[name] = strings.ReplaceAll(value, "\n", "")
		}
	}
	if len(vars) == 0 && post.SubstituteStrategy != kustomizev1.SubstituteStrategyAlways {
		return nil, nil
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if !varName.MatchString(name) {
			return nil, &fault.Fault{
				Code: "SLU-RENDER-010", Hop: fault.HopRender, Reason: reasonBuild,
				Seen: fmt.Sprintf("%q is no variable name", name),
				Fix:  "use letters, digits and underscores, and begin with no digit, in spec.postBuild and in what it refers to",
			}
		}
		r.secrets.vars = append(r.secrets.vars, vars[name])
	}
	return &substitution{vars: vars}, nil
}

// apply returns the object, substituted unless it is exempt.
func (r *renderer) apply(s *substitution, res *resource.Resource) (map[string]any, error) {
	if s == nil || res.GetLabels()[substituteKey] == kustomizev1.DisabledValue ||
		res.GetAnnotations()[substituteKey] == kustomizev1.DisabledValue {
		if content, ok := contentOf(res.YNode()); ok {
			return content, nil
		}
		data, err := res.MarshalJSON()
		if err != nil {
			return nil, r.diagnose(err)
		}
		return r.decode(res, data)
	}
	// Like Flux, substitute in the YAML text of the whole object: a value may change a scalar's type.
	text, err := res.AsYAML()
	if err != nil {
		return nil, r.diagnose(err)
	}
	out := string(text)
	err = guard(func() (err error) {
		out, err = envsubst.Eval(out, func(name string) (string, bool) {
			value, ok := s.vars[name]
			return value, ok || r.req.LooseVars
		})
		return err
	})
	if err != nil {
		return nil, r.substitutionFailed(res, err)
	}
	data, err := yaml.YAMLToJSON([]byte(out))
	if err != nil {
		return nil, r.unreadable(res, err)
	}
	return r.decode(res, data)
}

func (r *renderer) decode(res *resource.Resource, data []byte) (content map[string]any, err error) {
	if err := utiljson.Unmarshal(data, &content); err != nil {
		return nil, r.unreadable(res, err)
	}
	return content, nil
}

var notSet = lazyregexp.New(`variable not set \(strict mode\): "([^"]*)"`)

func (r *renderer) substitutionFailed(res *resource.Resource, err error) error {
	f := &fault.Fault{
		Code: "SLU-RENDER-010", Hop: fault.HopRender, Reason: reasonBuild,
		File: r.fileOf(res.GetKind(), res.GetName()), Object: res.GetKind() + "/" + res.GetName(),
		Seen: "variables cannot be substituted", Why: shorten(plain(err.Error()), maxMessage),
		Fix: "write $${…} for text that is no variable, or annotate the object with " + substituteKey + ": disabled",
	}
	if m := notSet.FindStringSubmatch(err.Error()); m != nil {
		f.Seen, f.Why = "variable "+m[1]+" has neither a value nor a default", ""
		f.Fix = fmt.Sprintf("set it under spec.postBuild, write ${%s:=default}, or $${%s} if it is text", m[1], m[1])
	}
	return f
}
