package metadata

import (
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// reader takes fields out of mappings with the conversions that sops makes: flattened formats have only text, and people
// leave out quotes. Names are found in any case where the exact one is not there, and the last of several counts. What is
// missing, or null, is empty. It remembers the first thing that was wrong.
type reader struct{ err error }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func get(b tree.Branch, name string) (v any) {
	exact := false
	for _, item := range b {
		switch key, _ := item.Key.(string); {
		case key == name:
			v, exact = item.Value, true
		case !exact && len(key) == len(name) && strings.EqualFold(key, name):
			v = item.Value
		}
	}
	return v
}

func (r *reader) text(b tree.Branch, name string) string {
	s, ok := text(get(b, name))
	if !ok {
		r.fail(&FieldError{name})
	}
	return s
}

func text(v any) (s string, ok bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case uint64:
		return strconv.FormatUint(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case bool:
		if v {
			return "1", true
		}
		return "0", true
	}
	return "", false
}

func (r *reader) flag(b tree.Branch, name string) (set bool) {
	var err error
	switch v := get(b, name).(type) {
	case nil:
	case bool:
		set = v
	case int:
		set = v != 0
	case int64:
		set = v != 0
	case uint64:
		set = v != 0
	case float64:
		set = v != 0
	case string:
		if v != "" {
			set, err = strconv.ParseBool(v)
		}
	default:
		err = strconv.ErrSyntax
	}
	if err != nil {
		r.fail(&FieldError{name})
	}
	return set
}

func (r *reader) number(b tree.Branch, name string) (n int) {
	var err error
	switch v := get(b, name).(type) {
	case nil:
	case int:
		n = v
	case int64:
		n = int(v)
	case uint64:
		n = int(v)
	case float64:
		n = int(v)
	case bool:
		if v {
			n = 1
		}
	case string:
		if v != "" {
			var wide int64
			wide, err = strconv.ParseInt(v, 0, strconv.IntSize)
			n = int(wide)
		}
	default:
		err = strconv.ErrSyntax
	}
	if err != nil {
		r.fail(&FieldError{name})
	}
	return n
}

func (r *reader) time(b tree.Branch, name string) time.Time {
	t, err := time.Parse(time.RFC3339, r.text(b, name))
	if err != nil {
		r.fail(ErrTime)
	}
	return t
}

// each calls do for every mapping of a list; one mapping alone stands for a list of one.
func (r *reader) each(b tree.Branch, name string, do func(tree.Branch)) {
	switch v := get(b, name).(type) {
	case nil:
	case tree.Branch:
		if hasEntries(v) {
			do(v)
		}
	case []any:
		for _, item := range v {
			switch item := item.(type) {
			case tree.Comment:
			case nil:
				do(nil)
			case tree.Branch:
				do(item)
			default:
				r.fail(&FieldError{name})
			}
		}
	default:
		r.fail(&FieldError{name})
	}
}

// texts reads a mapping of texts, or a list of such, which are merged.
func (r *reader) texts(b tree.Branch, name string) (out map[string]*string) {
	var add func(v any)
	add = func(v any) {
		switch v := v.(type) {
		case nil, tree.Comment:
		case tree.Branch:
			for _, item := range v {
				key, ok := item.Key.(string)
				if !ok {
					continue
				}
				value, ok := text(item.Value)
				if !ok {
					r.fail(&FieldError{name})
				}
				if out == nil {
					out = map[string]*string{}
				}
				if out[key] = nil; item.Value != nil {
					out[key] = &value
				}
			}
		case []any:
			for _, item := range v {
				add(item)
			}
		default:
			r.fail(&FieldError{name})
		}
	}
	add(get(b, name))
	return out
}

func hasEntries(b tree.Branch) bool {
	for _, item := range b {
		if _, comment := item.Key.(tree.Comment); !comment {
			return true
		}
	}
	return false
}

// stringKeys says whether all keys below v are text.
func stringKeys(v any) bool {
	switch v := v.(type) {
	case tree.Branch:
		for _, item := range v {
			switch item.Key.(type) {
			case string:
				if !stringKeys(item.Value) {
					return false
				}
			case tree.Comment:
			default:
				return false
			}
		}
	case []any:
		for _, item := range v {
			if !stringKeys(item) {
				return false
			}
		}
	}
	return true
}
