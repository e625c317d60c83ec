package reconcile

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/plan"
)

// changes lists the fields in which two states of an object differ, those of its status and of the server's bookkeeping
// left out. Values of Secrets are masked, and a sealed value counts as what stands in its place.
func changes(before, after *unstructured.Unstructured) []FieldChange {
	c := comparison{secret: after.GetKind() == "Secret" && after.GroupVersionKind().Group == ""}
	c.maps("", plan.Meant(before), plan.Meant(after))
	return c.fields
}

type comparison struct {
	secret bool
	fields []FieldChange
}

func (c *comparison) maps(path string, before, after map[string]any) {
	keys := map[string]bool{}
	for k := range before {
		keys[k] = true
	}
	for k := range after {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		at := k
		if strings.ContainsAny(k, "./") {
			at = strconv.Quote(k)
		}
		if path != "" {
			at = path + "." + at
		}
		c.values(at, before[k], after[k])
	}
}

func (c *comparison) values(path string, before, after any) {
	if equality.Semantic.DeepEqual(before, after) || isEmpty(before) && isEmpty(after) {
		return
	}
	a, aok := before.(map[string]any)
	b, bok := after.(map[string]any)
	if (aok || before == nil) && (bok || after == nil) && aok != bok {
		c.maps(path, a, b) // each field that comes or goes
		return
	}
	if aok && bok {
		c.maps(path, a, b)
		return
	}
	x, xok := before.([]any)
	y, yok := after.([]any)
	if xok && yok && len(x) == len(y) {
		for i := range x {
			c.values(fmt.Sprintf("%s[%d]", path, i), x[i], y[i])
		}
		return
	}
	if before != nil && holdsMask(after) {
		return
	}
	c.fields = append(c.fields, FieldChange{path, c.text(path, before), c.text(path, after)})
}

func (c *comparison) text(path string, v any) string {
	switch {
	case v == nil:
		return ""
	case holdsMask(v):
		return Mask
	case c.secret && (strings.HasPrefix(path, "data") || strings.HasPrefix(path, "stringData") || strings.HasPrefix(path, "metadata.annotations")):
		return secretMask
	}
	if s, ok := v.(string); ok {
		return s
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}
