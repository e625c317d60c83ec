package plan

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// pointer is a JSON pointer (RFC 6901), unescaped.
type pointer []string

func parsePointer(text string) (pointer, error) {
	rest, ok := strings.CutPrefix(text, "/")
	if !ok || rest == "" {
		return nil, fmt.Errorf("%q is no JSON pointer to a field, such as /spec/replicas", text)
	}
	p := strings.Split(rest, "/")
	for i := range p {
		p[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(p[i])
	}
	return p, nil
}

// index returns the place in a list that a part of a pointer names; a negative one counts from the end.
func index(list []any, part string) (int, bool) {
	i, err := strconv.Atoi(part)
	if i < 0 {
		i += len(list)
	}
	return i, err == nil && i >= 0 && i < len(list)
}

// child returns what a part of a pointer names in a decoded JSON value.
func child(v any, part string) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		c, ok := v[part]
		return c, ok
	case []any:
		if i, ok := index(v, part); ok {
			return v[i], true
		}
	}
	return nil, false
}

// get returns the value that p points to.
func (p pointer) get(root map[string]any) (v any, ok bool) {
	v, ok = root, true
	for _, part := range p {
		if v, ok = child(v, part); !ok {
			return nil, false
		}
	}
	return v, true
}

// remove takes the value away, if it is there.
func (p pointer) remove(root map[string]any) {
	last := len(p) - 1
	parent, ok := p[:last].get(root)
	if !ok {
		return
	}
	switch parent := parent.(type) {
	case map[string]any:
		delete(parent, p[last])
	case []any:
		if i, ok := index(parent, p[last]); ok && last > 0 {
			p[:last].set(root, append(parent[:i:i], parent[i+1:]...))
		}
	}
}

// set puts a value in its place; maps on the way are made, items of lists are not.
func (p pointer) set(root map[string]any, v any) {
	last := len(p) - 1
	var at any = root
	for i, part := range p[:last] {
		next, ok := child(at, part)
		if m, isMap := at.(map[string]any); isMap && (!ok || next == nil) {
			if _, err := strconv.Atoi(p[i+1]); err == nil {
				return // an item of a list that is not there
			}
			next = map[string]any{}
			m[part] = next
		} else if !ok {
			return
		}
		at = next
	}
	switch at := at.(type) {
	case map[string]any:
		at[p[last]] = runtime.DeepCopyJSONValue(v)
	case []any:
		if i, ok := index(at, p[last]); ok {
			at[i] = runtime.DeepCopyJSONValue(v)
		}
	}
}

// fieldSet is a node of a managedFields entry's fieldsV1, as decoded.
type fieldSet = map[string]any

// name returns the name under which node holds the part of v. Items of lists go by their keys.
func name(node fieldSet, v any, part string) (string, bool) {
	list, ok := v.([]any)
	if !ok {
		_, ok := node["f:"+part]
		return "f:" + part, ok
	}
	i, ok := index(list, part)
	if !ok {
		return "", false
	}
	item, _ := list[i].(map[string]any)
	for key := range node {
		text, ok := strings.CutPrefix(key, "k:")
		var want map[string]any
		if !ok || json.Unmarshal([]byte(text), &want) != nil {
			continue
		}
		for k, w := range want {
			is := item[k]
			if n, ok := is.(int64); ok {
				is = float64(n) // encoding/json knows no integers
			}
			ok = ok && reflect.DeepEqual(is, w)
		}
		if ok {
			return key, true
		}
	}
	return "", false
}

// disown takes p's field, and with it the nodes that held nothing else, out of a set of owned fields.
func (p pointer) disown(node fieldSet, v any) {
	key, ok := name(node, v, p[0])
	if !ok {
		return
	}
	if len(p) > 1 {
		below, _ := node[key].(fieldSet)
		if len(below) == 0 {
			return // owned as one, with the field in it
		}
		next, _ := child(v, p[0])
		if p[1:].disown(below, next); len(below) > 0 {
			return
		}
	}
	delete(node, key)
}

// appliedByOther says whether a manager other than the one named has applied p's field.
func (p pointer) appliedByOther(live *unstructured.Unstructured, manager string) bool {
	for _, e := range live.GetManagedFields() {
		if e.Manager == manager || e.Subresource != "" || e.Operation != metav1.ManagedFieldsOperationApply || e.FieldsV1 == nil {
			continue
		}
		var node fieldSet
		if json.Unmarshal(e.FieldsV1.GetRawBytes(), &node) == nil && p.in(node, live.Object) {
			return true
		}
	}
	return false
}

// in says whether the set holds p's field.
func (p pointer) in(node fieldSet, v any) bool {
	key, ok := name(node, v, p[0])
	if !ok || len(p) == 1 {
		return ok
	}
	below, _ := node[key].(fieldSet)
	next, _ := child(v, p[0])
	return p[1:].in(below, next)
}
