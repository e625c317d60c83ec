package store

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

const yamlIndent = 4

// Write implements Store.
func (s yamlStore) Write(branches []tree.Branch) ([]byte, error) {
	indent := s.indent
	switch {
	case indent == 0:
		indent = yamlIndent
	case indent < 0:
		return nil, ErrNoForm
	}
	if out, ok := writeLarge(branches, indent); ok {
		return out, nil
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(indent)
	for _, b := range branches {
		root := nodes(b)
		if root == nil || enc.Encode(&yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}}) != nil {
			return nil, ErrNoForm
		}
	}
	_ = enc.Close() // complains where there was no document
	return out.Bytes(), nil
}

// WriteValue implements Store.
func (yamlStore) WriteValue(v any) ([]byte, error) {
	n := nodes(v)
	if n == nil {
		return nil, ErrNoForm
	}
	out, err := yaml.Marshal(n)
	if err != nil {
		return nil, ErrNoForm
	}
	return out, nil
}

// nodes makes what the YAML library writes; nil if it cannot. Comments wait for what comes after them, and go behind what
// came before where nothing does.
func nodes(v any) *yaml.Node {
	switch v := v.(type) {
	case tree.Branch:
		n := &yaml.Node{Kind: yaml.MappingNode, Content: make([]*yaml.Node, 0, 2*len(v))}
		var wait waiting
		for _, item := range v {
			if c, ok := item.Key.(tree.Comment); ok {
				wait.add(c)
				continue
			}
			if len(n.Content) == 0 {
				wait.head(n)
			}
			key := nodes(item.Key)
			value := nodes(item.Value)
			if key == nil || value == nil {
				return nil
			}
			wait.head(key)
			wait.behind(value)
			n.Content = append(n.Content, key, value)
		}
		if len(n.Content) == 0 {
			wait.last(n, nil)
		} else {
			wait.last(n, n.Content[len(n.Content)-2])
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Content: make([]*yaml.Node, 0, len(v))}
		var wait waiting
		for _, item := range v {
			if c, ok := item.(tree.Comment); ok {
				wait.add(c)
				continue
			}
			if len(n.Content) == 0 {
				wait.head(n)
			}
			value := nodes(item)
			if value == nil {
				return nil
			}
			wait.head(value)
			wait.behind(value)
			n.Content = append(n.Content, value)
		}
		if len(n.Content) == 0 {
			wait.last(n, nil)
		} else {
			wait.last(n, n.Content[len(n.Content)-1])
		}
		return n
	case tree.Comment:
		return nil
	case string:
		if surelyPlain(v) {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v}
		}
	}
	n := &yaml.Node{}
	if n.Encode(v) != nil {
		return nil
	}
	return n
}

// waiting is comments that what they belong to has not been made of yet.
type waiting struct{ above, inline []string }

func (w *waiting) add(c tree.Comment) {
	if c.Inline {
		w.inline = append(w.inline, c.Text)
	} else {
		w.above = append(w.above, c.Text)
	}
}

func (w *waiting) head(n *yaml.Node) {
	if len(w.above) > 0 {
		n.HeadComment = joined(marked(w.above), n.HeadComment)
		w.above = nil
	}
}

func (w *waiting) behind(n *yaml.Node) {
	if len(w.inline) > 0 {
		n.LineComment = joined(n.LineComment, marked(w.inline))
		w.inline = nil
	}
}

// last puts what is left behind the last entry, or before a collection n that has none.
func (w *waiting) last(n, entry *yaml.Node) {
	left := append(w.above, w.inline...)
	switch {
	case len(left) == 0:
	case entry == nil:
		n.HeadComment = joined(marked(left), n.HeadComment)
	default:
		entry.FootComment = joined(entry.FootComment, marked(left))
	}
}

func marked(lines []string) string { return "#" + strings.Join(lines, "\n#") }

func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "\n" + b
}
