package metadata

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// What separates the steps of a path in a flattened key: age__list_0__map_enc.
const (
	mapStep  = "__map_"
	listStep = "__list_"
)

// flatten writes a mapping as one without depth. Empty mappings and lists leave nothing behind.
func flatten(v any, at string, out *tree.Branch) {
	switch v := v.(type) {
	case tree.Branch:
		for _, item := range v {
			flatten(item.Value, at+mapStep+item.Key.(string), out)
		}
	case []any:
		for i, item := range v {
			flatten(item, at+listStep+strconv.Itoa(i), out)
		}
	default:
		*out = append(*out, tree.Item{Key: at, Value: v})
	}
}

// Flat flattens what Write gives, with a prefix before each key.
func flat(m tree.Branch, prefix string) (out tree.Branch) {
	for _, item := range m {
		flatten(item.Value, prefix+item.Key.(string), &out)
	}
	return out
}

// node is a place in a tree that is put together from flattened keys: one of value, keys and positions.
type node struct {
	value     any
	set       bool
	keys      map[string]*node
	positions map[int]*node
}

// unflatten gives the mapping that was flattened, its keys sorted.
func unflatten(flat tree.Branch) (tree.Branch, error) {
	root := &node{}
	for _, item := range flat {
		if _, comment := item.Key.(tree.Comment); comment {
			continue
		}
		key, ok := item.Key.(string)
		if !ok {
			return nil, ErrFlat
		}
		n := root.place(key)
		if n.set {
			return nil, ErrFlat
		}
		n.value, n.set = item.Value, true
	}
	v, err := root.build()
	if err != nil {
		return nil, err
	}
	b, ok := v.(tree.Branch)
	if !ok {
		return nil, ErrFlat
	}
	return b, nil
}

// place finds the node of a flattened key, making those on the way.
func (n *node) place(path string) *node {
	for list := false; ; {
		next, rest, restIsList := path, "", false
		m, l := strings.Index(path, mapStep), strings.Index(path, listStep)
		switch {
		case m >= 0 && (l < 0 || m < l):
			next, rest = path[:m], path[m+len(mapStep):]
		case l >= 0:
			next, rest, restIsList = path[:l], path[l+len(listStep):], true
		}
		if list {
			position, _ := strconv.Atoi(next) // sops takes what is no number for 0
			n = child(&n.positions, position)
		} else {
			n = child(&n.keys, next)
		}
		if m < 0 && l < 0 {
			return n
		}
		path, list = rest, restIsList
	}
}

func child[K comparable](in *map[K]*node, key K) *node {
	if *in == nil {
		*in = map[K]*node{}
	}
	n := (*in)[key]
	if n == nil {
		n = &node{}
		(*in)[key] = n
	}
	return n
}

func (n *node) build() (any, error) {
	switch {
	case n.set && (n.keys != nil || n.positions != nil), n.keys != nil && n.positions != nil:
		return nil, ErrFlat
	case n.set:
		return n.value, nil
	case n.positions != nil:
		list := make([]any, len(n.positions))
		for i := range list {
			item, ok := n.positions[i]
			if !ok {
				return nil, ErrFlat
			}
			v, err := item.build()
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	}
	b := tree.Branch{}
	for _, key := range slices.Sorted(maps.Keys(n.keys)) {
		v, err := n.keys[key].build()
		if err != nil {
			return nil, err
		}
		b = append(b, tree.Item{Key: key, Value: v})
	}
	return b, nil
}
