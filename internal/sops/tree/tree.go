// Package tree is a document as SOPS sees it, whatever its format: mappings in their order, lists, comments where they
// stand, and scalars with their types.
//
// Values are Branch, []any, string, int, float64, bool, time.Time, nil and Comment; YAML's further scalars (int64,
// uint64) can be held and written, and are refused when a document is sealed. Keys are strings, or Comments with no value;
// YAML's other keys can be held and written too. It stands between the formats, which read and write trees, and the
// cipher, which walks them. It does neither.
package tree

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Branch is a mapping.
type Branch []Item

// Item is an entry of a mapping, or a comment: then Key is a Comment and Value nil.
type Item struct{ Key, Value any }

// Comment is one line of a comment without its mark. An inline one stands behind a value.
type Comment struct {
	Text   string
	Inline bool
}

// ErrNoValue says that a path leads nowhere.
var ErrNoValue = errors.New("no value there")

// Get returns the value of a key of the mapping itself.
func (b Branch) Get(key any) (v any, found bool) {
	for _, item := range b {
		if item.Key == key {
			return item.Value, true
		}
	}
	return nil, false
}

// At returns what stands at a path: strings for keys, ints for positions in lists, comments counted.
func (b Branch) At(path []any) (any, error) {
	var v any = b
	for _, step := range path {
		switch in := v.(type) {
		case Branch:
			var found bool
			if v, found = in.Get(step); !found {
				return nil, ErrNoValue
			}
		case []any:
			n, ok := step.(int)
			if !ok || n < 0 || n >= len(in) {
				return nil, ErrNoValue
			}
			v = in[n]
		default:
			return nil, ErrNoValue
		}
	}
	return v, nil
}

// Set puts a value at a path, making mappings and lists on the way and replacing scalars there, and says whether that
// changed anything. A position beyond a list's end adds one item.
func (b Branch) Set(path []any, value any) (after Branch, changed bool, err error) {
	v, changed, err := set(b, path, value)
	if err != nil {
		return b, false, err
	}
	after, ok := v.(Branch)
	if !ok {
		return b, false, ErrNoValue
	}
	return after, changed, nil
}

func set(in any, path []any, value any) (any, bool, error) {
	if len(path) == 0 {
		return value, !Equal(in, value), nil
	}
	switch in := in.(type) {
	case Branch:
		if _, position := path[0].(int); position {
			return nil, false, ErrNoValue
		}
		for i := range in {
			if in[i].Key != path[0] {
				continue
			}
			v, changed, err := set(in[i].Value, path[1:], value)
			if err == nil {
				in[i].Value = v
			}
			return in, changed, err
		}
		return append(in, Item{path[0], along(path[1:], value)}), true, nil
	case []any:
		n, ok := path[0].(int)
		switch {
		case !ok || n < 0:
			return nil, false, ErrNoValue
		case n >= len(in):
			return append(in, along(path[1:], value)), true, nil
		}
		v, changed, err := set(in[n], path[1:], value)
		if err == nil {
			in[n] = v
		}
		return in, changed, err
	}
	v := along(path, value)
	return v, !Equal(in, v), nil
}

// along makes the mappings and lists of a path that is not there yet.
func along(path []any, value any) any {
	if len(path) == 0 {
		return value
	}
	inner := along(path[1:], value)
	if _, position := path[0].(int); position {
		return []any{inner}
	}
	return Branch{{path[0], inner}}
}

// Unset takes away what stands at a path.
func (b Branch) Unset(path []any) (Branch, error) {
	if len(path) == 0 {
		return b, ErrNoValue
	}
	v, err := unset(b, path)
	if err != nil {
		return b, err
	}
	return v.(Branch), nil
}

func unset(in any, path []any) (any, error) {
	last := len(path) == 1
	switch in := in.(type) {
	case Branch:
		i := slices.IndexFunc(in, func(item Item) bool { return item.Key == path[0] })
		if i < 0 {
			return nil, ErrNoValue
		}
		if last {
			return slices.Delete(in, i, i+1), nil
		}
		v, err := unset(in[i].Value, path[1:])
		if err == nil {
			in[i].Value = v
		}
		return in, err
	case []any:
		n, ok := path[0].(int)
		if !ok || n < 0 || n >= len(in) {
			return nil, ErrNoValue
		}
		if last {
			return slices.Delete(in, n, n+1), nil
		}
		v, err := unset(in[n], path[1:])
		if err == nil {
			in[n] = v
		}
		return in, err
	}
	return nil, ErrNoValue
}

// Equal compares two values, a comment by its text alone.
func Equal(a, b any) bool {
	switch a := a.(type) {
	case Branch:
		b, ok := b.(Branch)
		return ok && slices.EqualFunc(a, b, func(x, y Item) bool { return Equal(x.Key, y.Key) && Equal(x.Value, y.Value) })
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, Equal)
	case Comment:
		b, ok := b.(Comment)
		return ok && a.Text == b.Text
	case string, int, float64, bool, time.Time, nil, int64, uint64:
		return a == b
	}
	return false
}

// Text writes a scalar for formats that have no types: dotenv, INI, an environment.
func Text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		text := strconv.FormatFloat(v, 'G', -1, 64)
		if !strings.ContainsAny(text, ".E") { // else it would read as an integer
			text = strconv.FormatFloat(v, 'f', 1, 64)
		}
		return text
	case time.Time:
		return v.Format(time.RFC3339)
	}
	return fmt.Sprint(v)
}

// Walk calls do for every comment and scalar in order, null among them.
func Walk(v any, do func(v any)) {
	switch v := v.(type) {
	case Branch:
		for _, item := range v {
			if c, ok := item.Key.(Comment); ok {
				do(c)
				continue
			}
			Walk(item.Value, do)
		}
	case []any:
		for _, item := range v {
			Walk(item, do)
		}
	default:
		do(v)
	}
}
