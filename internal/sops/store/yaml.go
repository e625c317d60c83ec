package store

import (
	"bytes"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// yamlStore is streams of YAML documents, each a mapping. Of YAML's ways of writing the same thing (flow style, anchors,
// quotes, folded text) only what stands there survives, and comments.
type yamlStore struct {
	nested
	indent int
}

// Read implements Store.
func (yamlStore) Read(data []byte) ([]tree.Branch, error) {
	var branches []tree.Branch
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if err == io.EOF {
			return branches, nil
		}
		if err != nil {
			return nil, yamlSyntax(err)
		}
		b, plain := readPlain(&doc)
		if !plain {
			if len(branches) == 0 {
				// The decoder of maps refuses repeated keys, and sops asks it about the first document.
				if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(map[string]any{}); err != nil {
					return nil, yamlSyntax(err)
				}
			}
			r := reader{}
			if b = r.document(&doc); r.failed != nil {
				return nil, &SyntaxError{Line: r.failed.Line}
			}
		}
		branches = append(branches, b)
	}
}

var yamlLine = lazyregexp.New(`\bline (\d+)`)

// yamlSyntax keeps the line alone of the parser's error, which quotes.
func yamlSyntax(err error) error {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		n, _ := strconv.Atoi(m[1])
		return &SyntaxError{Line: n}
	}
	return &SyntaxError{}
}

// reader turns nodes into trees. Where a comment goes depends on what it stands at: the parser has three places for
// comments at each node, a tree has an order. They are put where sops puts them.
type reader struct{ failed *yaml.Node }

// document reads a document.
func (r *reader) document(doc *yaml.Node) tree.Branch { return r.root(tree.Branch{}, doc) }

func (r *reader) root(b tree.Branch, n *yaml.Node) tree.Branch {
	if n.Kind == yaml.MappingNode {
		return r.mapping(b, n, false)
	}
	b = note(note(b, n.HeadComment, false), n.LineComment, false)
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			b = r.root(b, c)
		}
	case yaml.AliasNode:
		b = r.root(b, n.Alias)
	case yaml.ScalarNode:
		if n.ShortTag() == "!!null" { // nothing but the start of a document
			return b
		}
		r.failed = n
	default:
		r.failed = n
	}
	return note(b, n.FootComment, false)
}

// mapping appends a mapping's entries. noted says that its comments have been read already.
func (r *reader) mapping(b tree.Branch, n *yaml.Node, noted bool) tree.Branch {
	if !noted {
		b = note(note(b, n.HeadComment, false), n.LineComment, false)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		b = note(note(b, key.HeadComment, false), key.LineComment, false)
		scalar := value.Kind == yaml.ScalarNode || value.Kind == yaml.AliasNode
		if scalar {
			b = note(note(b, value.HeadComment, false), value.LineComment, true)
		}
		b = append(b, tree.Item{Key: decoded(key), Value: r.value(value, scalar)})
		if scalar {
			b = note(b, value.FootComment, false)
		}
		b = note(b, key.FootComment, false)
	}
	if !noted {
		b = note(b, n.FootComment, false)
	}
	return b
}

func (r *reader) value(n *yaml.Node, noted bool) any {
	switch n.Kind {
	case yaml.MappingNode:
		return r.mapping(tree.Branch{}, n, noted)
	case yaml.SequenceNode:
		var list []any
		if !noted {
			list = noteItem(noteItem(list, n.HeadComment, false), n.LineComment, false)
		}
		for _, item := range n.Content {
			list = noteItem(noteItem(list, item.HeadComment, false), item.LineComment, true)
			list = append(list, r.value(item, true))
			list = noteItem(list, item.FootComment, false)
		}
		if !noted {
			list = noteItem(list, n.FootComment, false)
		}
		return list
	case yaml.AliasNode:
		return r.value(n.Alias, false)
	}
	return decoded(n)
}

// decoded gives a scalar its type. What cannot have the type that its tag claims is null, as in sops.
func decoded(n *yaml.Node) (v any) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		return n.Value
	}
	_ = n.Decode(&v)
	return v
}

// lines gives the lines of a comment without their marks.
func lines(comment string, do func(text string)) {
	if comment == "" {
		return
	}
	for line := range strings.SplitSeq(comment, "\n") {
		if line != "" {
			do(line[1:])
		}
	}
}

func note(b tree.Branch, comment string, inline bool) tree.Branch {
	lines(comment, func(text string) { b = append(b, tree.Item{Key: tree.Comment{Text: text, Inline: inline}}) })
	return b
}

func noteItem(list []any, comment string, inline bool) []any {
	lines(comment, func(text string) { list = append(list, tree.Comment{Text: text, Inline: inline}) })
	return list
}
