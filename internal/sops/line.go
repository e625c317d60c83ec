package sops

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// source is a document as it stands, for telling on which line something is.
type source struct {
	data   []byte
	format Format
}

// line finds the line of the value at a path as the cipher tells it, "data.password"; items of a list have the path of
// the list, of which the first plain one is told, which is the one that was written there by hand. 0: not to be found.
func (s source) line(where string) int {
	if where == "" || s.data == nil {
		return 0
	}
	if s.format == Dotenv || s.format == INI {
		n := 0
		for text := range bytes.Lines(s.data) {
			n++
			if key, _, ok := bytes.Cut(text, []byte("=")); ok && strings.HasSuffix("."+where, "."+string(bytes.TrimSpace(key))) {
				return n
			}
		}
		return 0
	}
	dec := yaml.NewDecoder(bytes.NewReader(s.data))
	sealed, budget := 0, maxNodes
	for {
		var doc yaml.Node
		if dec.Decode(&doc) != nil {
			return sealed
		}
		plain := 0
		visit(&doc, "", where, &budget, func(n *yaml.Node) {
			switch {
			case strings.HasPrefix(n.Value, "ENC["):
				if sealed == 0 {
					sealed = n.Line
				}
			case plain == 0 && n.Value != "":
				plain = n.Line
			}
		})
		if plain > 0 {
			return plain
		}
	}
}

// visit calls do for the scalars at a path.
func visit(n *yaml.Node, at, where string, budget *int, do func(*yaml.Node)) {
	if *budget--; *budget < 0 {
		return
	}
	switch n.Kind {
	case yaml.DocumentNode, yaml.SequenceNode:
		for _, c := range n.Content {
			visit(c, at, where, budget, do)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := strings.TrimPrefix(at+"."+strings.ReplaceAll(n.Content[i].Value, ":", "."), ".")
			if key == where || strings.HasPrefix(where, key+".") {
				visit(n.Content[i+1], key, where, budget, do)
			}
		}
	case yaml.ScalarNode:
		if at == where {
			do(n)
		}
	}
}
