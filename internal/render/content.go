package render

import (
	"strconv"
	"strings"

	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
)

// contentOf turns a node of kustomize's result into what a JSON decoder would make of its JSON: maps, slices, strings,
// int64, bool and nil. kustomize itself goes by way of YAML text, which takes longer than the rest of a build.
//
// ok is false wherever that way could lead elsewhere: numbers that are not plain decimals, other spellings of true, keys
// that are no strings or come twice, aliases, tags, and texts that YAML's block style is known not to keep.
func contentOf(n *kyaml.Node) (content map[string]any, ok bool) {
	if n == nil || n.Kind != kyaml.MappingNode {
		return nil, false
	}
	return mapping(n)
}

func mapping(n *kyaml.Node) (map[string]any, bool) {
	out := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != kyaml.ScalarNode || key.ShortTag() != kyaml.NodeTagString || !faithful(key.Value) {
			return nil, false
		}
		if _, twice := out[key.Value]; twice {
			return nil, false
		}
		value, ok := nodeValue(n.Content[i+1])
		if !ok {
			return nil, false
		}
		out[key.Value] = value
	}
	return out, true
}

func nodeValue(n *kyaml.Node) (any, bool) {
	switch n.Kind {
	case kyaml.MappingNode:
		return mapping(n)
	case kyaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, c := range n.Content {
			var ok bool
			if out[i], ok = nodeValue(c); !ok {
				return nil, false
			}
		}
		return out, true
	case kyaml.ScalarNode:
		return scalarValue(n)
	}
	return nil, false
}

func scalarValue(n *kyaml.Node) (any, bool) {
	tag := n.ShortTag()
	if tag == kyaml.NodeTagString {
		return n.Value, faithful(n.Value)
	}
	if n.Style&^kyaml.FlowStyle != 0 { // a quoted number, tagged as one
		return nil, false
	}
	switch tag {
	case kyaml.NodeTagNull:
		return nil, n.Value != "" // in braces, nothing comes back as an empty text
	case kyaml.NodeTagBool:
		return n.Value == "true", n.Value == "true" || n.Value == "false"
	case kyaml.NodeTagInt:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		return i, err == nil && strconv.FormatInt(i, 10) == n.Value
	}
	return nil, false
}

// faithful says whether a text comes back from YAML as it went.
func faithful(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\n' || c == 0x7f || c >= 0x80 {
			return false
		}
	}
	return !strings.Contains(s, "\n") || s[0] > ' '
}
