package rules

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// resolve follows an alias. An alias to an alias does not exist in YAML.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// hasAnchor says whether anything in a tree is named for use elsewhere. Aliases are not followed.
func hasAnchor(n *yaml.Node) bool {
	return n.Anchor != "" || slices.ContainsFunc(n.Content, hasAnchor)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// fields calls the reader of each field of a mapping. A field without one is a problem, unless extra accepts it.
func (p *parser) fields(n *yaml.Node, what string, known map[string]func(*yaml.Node), extra func(key, value *yaml.Node) bool) {
	p.mapping(n, what, 0, map[string]bool{}, known, extra)
}

func (p *parser) mapping(n *yaml.Node, what string, depth int, seen map[string]bool, known map[string]func(*yaml.Node), extra func(key, value *yaml.Node) bool) {
	n = resolve(n)
	switch {
	case isNull(n):
		return
	case n.Kind != yaml.MappingNode:
		p.add(n.Line, "%s is no mapping", what)
		return
	case depth > maxDepth:
		p.add(n.Line, "%s merges itself", what)
		return
	}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.ShortTag() == "!!merge" {
			merged = append(merged, value)
			continue
		}
		if seen[key.Value] {
			if depth == 0 {
				p.add(key.Line, "the field %s stands twice", key.Value)
			}
			continue // what a mapping says itself goes before what it merges
		}
		seen[key.Value] = true
		switch read := known[key.Value]; {
		case read != nil:
			read(resolve(value))
		case extra != nil && extra(key, value):
		default:
			p.add(key.Line, "unknown field %s%s", strconv.Quote(key.Value), didYouMean(key.Value, known))
		}
	}
	for _, m := range merged {
		m = resolve(m)
		if m.Kind != yaml.SequenceNode {
			p.mapping(m, what, depth+1, seen, known, extra)
			continue
		}
		for _, item := range m.Content {
			p.mapping(item, what, depth+1, seen, known, extra)
		}
	}
}

// didYouMean names the known field that a misspelt one is nearest to, if one is near.
func didYouMean(name string, known map[string]func(*yaml.Node)) string {
	best, at := "", 3 // more than two letters off is another word
	for k := range known {
		if d := distance(strings.ToLower(strings.ReplaceAll(name, "-", "_")), k); d < at || d == at && best != "" && k < best {
			best, at = k, d
		}
	}
	if best == "" {
		return ""
	}
	return ": did you mean " + best + "?"
}

// distance counts the letters to insert, drop or replace to make b of a (Levenshtein).
func distance(a, b string) int {
	if len(a) > 40 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := left
			if a[i] != b[j] {
				cost++
			}
			left = row[j+1]
			row[j+1] = min(cost, row[j]+1, left+1)
		}
	}
	return row[len(b)]
}

// list returns the items of a sequence, aliases followed.
func (p *parser) list(n *yaml.Node, what string) []*yaml.Node {
	n = resolve(n)
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		p.add(n.Line, "%s is no list", what)
		return nil
	}
	items := make([]*yaml.Node, len(n.Content))
	for i, item := range n.Content {
		items[i] = resolve(item)
	}
	return items
}

func (p *parser) text(n *yaml.Node, into *string) {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode {
		p.add(n.Line, "there must be a string")
		return
	}
	if !isNull(n) {
		*into = n.Value
	}
}

func (p *parser) number(n *yaml.Node, into *int) {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode || n.Decode(into) != nil {
		p.add(n.Line, "there must be a whole number")
	}
}

func (p *parser) boolean(n *yaml.Node, into *bool) {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode || n.Decode(into) != nil {
		p.add(n.Line, "there must be true or false")
	}
}

// strings reads a list of strings, or, where split is set, one string with commas in it.
func (p *parser) strings(n *yaml.Node, into *[]string, split bool) {
	n = resolve(n)
	if n.Kind == yaml.ScalarNode && split {
		if isNull(n) {
			return
		}
		for word := range strings.SplitSeq(n.Value, ",") {
			if word = strings.TrimSpace(word); word != "" {
				*into = append(*into, word)
			}
		}
		return
	}
	for _, item := range p.list(n, "the field") {
		if item.Kind != yaml.ScalarNode {
			p.add(item.Line, "there must be a string")
			continue
		}
		*into = append(*into, item.Value)
	}
}
