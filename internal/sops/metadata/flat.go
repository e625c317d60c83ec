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

// flat flattens what Write gives, with a prefix before each key.
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
		if n == nil || n.set {
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

// maxSteps bounds the depth of a flattened key: sops's own have six steps.
const maxSteps = 100

// place finds the node of a flattened key, making those on the way; nil if the key goes too deep.
func (n *node) place(path string) *node {
	list := false
	for range maxSteps {
		end, next := nextStep(path)
		name := path
		if end >= 0 {
			name = path[:end]
		}
		if list {
			position, _ := strconv.Atoi(name) // sops takes what is no number for 0
			n = child(&n.positions, position)
		} else {
			n = child(&n.keys, name)
		}
		if end < 0 {
			return n
		}
		path, list = path[end+len(next):], next == listStep
	}
	return nil
}

// nextStep finds the next separator in one pass, which a key of many of one kind would otherwise make a pass each.
func nextStep(path string) (at int, step string) {
	for i := 0; ; i++ {
		j := strings.Index(path[i:], "__")
		if j < 0 {
			return -1, ""
		}
		i += j
		for _, step := range [...]string{mapStep, listStep} {
			if strings.HasPrefix(path[i:], step) {
				return i, step
			}
		}
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
