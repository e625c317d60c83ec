package plan

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// IgnoreRule is one of spec.ignore: fields of live objects that are left to others. Its selecting fields are regular
// expressions that must match whole, and label selectors; an empty one selects everything.
type IgnoreRule struct {
	Paths                             []string // JSON pointers (RFC 6901)
	Group, Version, Kind              string
	Namespace, Name                   string
	LabelSelector, AnnotationSelector string
}

// Ignore is the whole of spec.ignore, compiled. Nil ignores nothing.
type Ignore []ignoring

type ignoring struct {
	source              IgnoreRule
	paths               []pointer
	selects             []*regexp.Regexp // group, version, kind, namespace, name
	labels, annotations labels.Selector
}

// CompileIgnore compiles the rules. Every fault in them is reported at once.
func CompileIgnore(rules []IgnoreRule) (Ignore, error) {
	var out Ignore
	var faults []error
	for i, r := range rules {
		refuse := func(field string, err error) {
			if err != nil {
				faults = append(faults, fmt.Errorf("spec.ignore[%d].%s: %w", i, field, err))
			}
		}
		c := ignoring{source: r, labels: labels.Everything(), annotations: labels.Everything()}
		for _, text := range r.Paths {
			p, err := parsePointer(text)
			refuse("paths", err)
			c.paths = append(c.paths, p)
		}
		for _, s := range []struct{ field, text string }{
			{"group", r.Group}, {"version", r.Version}, {"kind", r.Kind}, {"namespace", r.Namespace}, {"name", r.Name},
		} {
			if s.text == "" {
				c.selects = append(c.selects, nil)
				continue
			}
			re, err := regexp.Compile("^(?:" + s.text + ")$")
			refuse("target."+s.field, err)
			c.selects = append(c.selects, re)
		}
		var err error
		if r.LabelSelector != "" {
			c.labels, err = labels.Parse(r.LabelSelector)
			refuse("target.labelSelector", err)
		}
		if r.AnnotationSelector != "" {
			c.annotations, err = labels.Parse(r.AnnotationSelector)
			refuse("target.annotationSelector", err)
		}
		out = append(out, c)
	}
	return out, errors.Join(faults...)
}

func (r ignoring) matches(u *unstructured.Unstructured) bool {
	gvk := u.GroupVersionKind()
	for i, value := range []string{gvk.Group, gvk.Version, gvk.Kind, u.GetNamespace(), u.GetName()} {
		if r.selects[i] != nil && !r.selects[i].MatchString(value) {
			return false
		}
	}
	return r.labels.Matches(labels.Set(u.GetLabels())) && r.annotations.Matches(labels.Set(u.GetAnnotations()))
}

// paths returns the fields of u that are ignored.
func (g Ignore) paths(u *unstructured.Unstructured) (all []pointer) {
	for _, r := range g {
		if r.matches(u) {
			all = append(all, r.paths...)
		}
	}
	return all
}

// Equal says whether both ignore the same.
func (g Ignore) Equal(other Ignore) bool {
	return slices.EqualFunc(g, other, func(a, b ignoring) bool { return reflect.DeepEqual(a.source, b.source) })
}

// Concerns says whether any field of u is ignored.
func (g Ignore) Concerns(u *unstructured.Unstructured) bool { return len(g.paths(u)) > 0 }

// Strip returns u without the fields that are ignored of like, and without their entries in managedFields; u itself if
// there are none, else a copy.
func (g Ignore) Strip(u, like *unstructured.Unstructured) *unstructured.Unstructured {
	paths := g.paths(like)
	if len(paths) == 0 {
		return u
	}
	out := u.DeepCopy()
	metadata, _ := out.Object["metadata"].(map[string]any)
	entries, _ := metadata["managedFields"].([]any)
	for _, p := range paths {
		for _, e := range entries {
			e, _ := e.(map[string]any)
			if set, ok := e["fieldsV1"].(map[string]any); ok {
				p.disown(set, out.Object) // before the value goes: it names the items of lists
			}
		}
		p.remove(out.Object)
	}
	return out
}

// Yield returns desired as it is to be applied beside what is ignored, and desired itself if nothing differs. merged is
// what an apply of desired would make of live. As in Flux, an ignored field that differs is left out where another
// manager has applied it, which gives it up; otherwise it takes its live value, so that it stays ours and as it is.
func (g Ignore) Yield(desired, live, merged *unstructured.Unstructured, manager string) *unstructured.Unstructured {
	out := desired
	for _, p := range g.paths(merged) {
		is, there := p.get(live.Object)
		would, wouldBe := p.get(merged.Object)
		if there == wouldBe && equality.Semantic.DeepEqual(is, would) {
			continue
		}
		if out == desired {
			out = desired.DeepCopy()
		}
		if !there || p.appliedByOther(live, manager) {
			p.remove(out.Object)
			continue
		}
		p.set(out.Object, is)
	}
	return out
}
