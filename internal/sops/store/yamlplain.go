package store

import (
	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// readPlain reads what most documents are: mappings, lists and scalars without comments, anchors, explicit tags and
// repeated keys. It gives what the long way would give, and spares it the second parsing; plain is false for anything that
// it does not know for sure. Nodes that were read are let go, so that a large document is not held twice.
func readPlain(doc *yaml.Node) (b tree.Branch, plain bool) {
	if commented(doc) || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode || !simple(doc.Content[0]) {
		return nil, false
	}
	return plainMapping(doc.Content[0]), true
}

func commented(n *yaml.Node) bool {
	return n.HeadComment != "" || n.LineComment != "" || n.FootComment != ""
}

// simple looks at a whole tree before any of it is read.
func simple(n *yaml.Node) bool {
	if commented(n) || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		return false
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return true
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if !simple(item) {
				return false
			}
		}
		return true
	case yaml.MappingNode:
		var seen map[string]struct{}
		if len(n.Content) > 16 {
			seen = make(map[string]struct{}, len(n.Content)/2)
		}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || key.Tag != "!!str" || !simple(key) || !simple(n.Content[i+1]) { // "<<" merges
				return false
			}
			if repeated(n, i, seen) {
				return false
			}
		}
		return true
	}
	return false
}

// repeated says whether the key at i stands before it already.
func repeated(n *yaml.Node, i int, seen map[string]struct{}) bool {
	name := n.Content[i].Value
	if seen != nil {
		_, again := seen[name]
		seen[name] = struct{}{}
		return again
	}
	for j := 0; j < i; j += 2 {
		if n.Content[j].Value == name {
			return true
		}
	}
	return false
}

func plainMapping(n *yaml.Node) tree.Branch {
	b := make(tree.Branch, 0, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		b = append(b, tree.Item{Key: n.Content[i].Value, Value: plainValue(n.Content[i+1])})
		n.Content[i], n.Content[i+1] = nil, nil
	}
	return b
}

func plainValue(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		return plainMapping(n)
	case yaml.SequenceNode:
		var list []any // nil if empty
		for i, item := range n.Content {
			list = append(list, plainValue(item))
			n.Content[i] = nil
		}
		return list
	}
	return decoded(n)
}
