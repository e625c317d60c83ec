package check

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// maxNodes bounds a walk in which aliases are followed.
const maxNodes = 200000

// documents parses a YAML stream, or a JSON document, which is one.
func documents(data []byte) ([]*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var out []*yaml.Node
	for {
		var doc yaml.Node
		switch err := dec.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("it is not valid YAML or JSON%s", atLine(err))
		}
		if len(doc.Content) == 1 {
			out = append(out, doc.Content[0])
		}
	}
}

// atLine keeps the line number of the parser's error, which may quote.
func atLine(err error) string {
	text := err.Error()
	if i := bytes.Index([]byte(text), []byte("line ")); i >= 0 {
		end := i + len("line ")
		for end < len(text) && text[end] >= '0' && text[end] <= '9' {
			end++
		}
		return " (" + text[i:end] + ")"
	}
	return ""
}

// child returns the value of a mapping's key, nil if there is none.
func child(n *yaml.Node, key string) *yaml.Node {
	if n = follow(n); n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return follow(n.Content[i+1])
		}
	}
	return nil
}

func follow(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// text is a scalar's value, empty for anything else.
func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		return ""
	}
	return n.Value
}

// treeOf turns a node into what documents are made of.
func treeOf(n *yaml.Node, budget *int) (any, error) {
	if *budget--; *budget < 0 {
		return nil, errors.New("its aliases expand too far")
	}
	switch n = follow(n); n.Kind {
	case yaml.MappingNode:
		branch := tree.Branch{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := treeOf(n.Content[i+1], budget)
			if err != nil {
				return nil, err
			}
			branch = append(branch, tree.Item{Key: n.Content[i].Value, Value: v})
		}
		return branch, nil
	case yaml.SequenceNode:
		list := []any{}
		for _, c := range n.Content {
			v, err := treeOf(c, budget)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return nil, nil
		case "!!int":
			return strconv.Atoi(n.Value)
		case "!!bool":
			return strconv.ParseBool(n.Value)
		}
		return n.Value, nil
	}
	return nil, errors.New("it holds a node of no kind")
}
