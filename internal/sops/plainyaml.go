package sops

import (
	"bytes"
	"io"
	"strings"

	getsops "github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/stores"
	libyaml "github.com/getsops/sops/v3/stores/yaml"
	"go.yaml.in/yaml/v3"
)

// yamlStore is the library's YAML store with a short way for the documents that most are: mappings, lists and scalars,
// without comments, anchors, explicit tags and repeated keys. The library reads every document twice, compares each key
// with each other, and sets up an encoder and a parser for each scalar that it writes; a megabyte of short values takes
// it 400 MB of allocations. What the short way does not know for sure goes to the library. The tests hold both to the
// same bytes and trees.
type yamlStore struct {
	*libyaml.Store
	indent int // as written; 0: left to the library
}

// LoadPlainFile implements getsops.Store.
func (s yamlStore) LoadPlainFile(data []byte) (getsops.TreeBranches, error) {
	if branches, ok := readPlainYAML(data); ok {
		return branches, nil
	}
	return s.Store.LoadPlainFile(data)
}

// EmitPlainFile implements getsops.Store.
func (s yamlStore) EmitPlainFile(branches getsops.TreeBranches) ([]byte, error) {
	if out, ok := s.write(branches); ok {
		return out, nil
	}
	return s.Store.EmitPlainFile(branches)
}

// EmitEncryptedFile implements getsops.Store.
func (s yamlStore) EmitEncryptedFile(tree getsops.Tree) ([]byte, error) {
	branches, err := stores.SerializeMetadata(tree, stores.MetadataOpts{Flatten: stores.MetadataFlattenNone})
	if err != nil {
		return nil, err
	}
	return s.EmitPlainFile(branches)
}

// readPlainYAML gives what the library would give, or ok false.
func readPlainYAML(data []byte) (branches getsops.TreeBranches, ok bool) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		switch err := dec.Decode(&doc); {
		case err == io.EOF:
			return branches, len(branches) > 0
		case err != nil || commented(&doc) || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode:
			return nil, false
		}
		v, ok := readNode(doc.Content[0])
		if !ok {
			return nil, false
		}
		branches = append(branches, v.(getsops.TreeBranch))
	}
}

func commented(n *yaml.Node) bool {
	return n.HeadComment != "" || n.LineComment != "" || n.FootComment != ""
}

func readNode(n *yaml.Node) (v any, ok bool) {
	if commented(n) || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		return nil, false
	}
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!str" {
			return n.Value, true
		}
		return v, n.Decode(&v) == nil
	case yaml.SequenceNode:
		var list []any // nil if empty, as the library's
		for _, item := range n.Content {
			v, ok := readNode(item)
			if !ok {
				return nil, false
			}
			list = append(list, v)
		}
		return list, true
	case yaml.MappingNode:
		return readMapping(n)
	}
	return nil, false
}

func readMapping(n *yaml.Node) (any, bool) {
	branch := make(getsops.TreeBranch, 0, len(n.Content)/2)
	seen := make(map[string]struct{}, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		name := key.Value
		if _, again := seen[name]; again || key.Kind != yaml.ScalarNode || key.Tag != "!!str" { // "<<" merges
			return nil, false
		}
		if _, ok := readNode(key); !ok {
			return nil, false
		}
		seen[name] = struct{}{}
		v, ok := readNode(n.Content[i+1])
		if !ok {
			return nil, false
		}
		branch = append(branch, getsops.TreeItem{Key: name, Value: v})
	}
	return branch, true
}

// write gives what the library would write, or ok false.
func (s yamlStore) write(branches getsops.TreeBranches) (out []byte, ok bool) {
	if s.indent < 0 {
		return nil, false
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	indent := s.indent
	if indent == 0 {
		indent = libyaml.IndentDefault
	}
	enc.SetIndent(indent)
	for _, branch := range branches {
		b.Grow(length(branch))
		root, ok := writeNode(branch)
		if !ok || enc.Encode(&yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}}) != nil {
			return nil, false
		}
	}
	return b.Bytes(), enc.Close() == nil
}

func writeNode(v any) (*yaml.Node, bool) {
	switch v := v.(type) {
	case getsops.Comment:
		return nil, false
	case getsops.TreeBranch:
		n := &yaml.Node{Kind: yaml.MappingNode, Content: make([]*yaml.Node, 0, 2*len(v))}
		for _, item := range v {
			key, keyOK := writeNode(item.Key)
			value, valueOK := writeNode(item.Value)
			if !keyOK || !valueOK {
				return nil, false
			}
			n.Content = append(n.Content, key, value)
		}
		return n, true
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Content: make([]*yaml.Node, 0, len(v))}
		for _, item := range v {
			node, ok := writeNode(item)
			if !ok {
				return nil, false
			}
			n.Content = append(n.Content, node)
		}
		return n, true
	case string:
		if surelyPlain(v) {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v}, true
		}
	}
	n := &yaml.Node{}
	return n, n.Encode(v) == nil
}

// surelyPlain tells strings that YAML writes as they stand, such as every sealed value: they are longer than any word with
// a meaning of its own (false), begin with a letter or hold one that no number and no date has, and hold nothing that
// could end a plain scalar.
func surelyPlain(s string) bool {
	if len(s) <= len("false") || s[len(s)-1] == ':' {
		return false
	}
	word := letter(s[0])
	if !word && !digit(s[0]) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !letter(c) && !digit(c) && strings.IndexByte("_-./+=,:[]", c) < 0 {
			return false
		}
		word = word || strings.IndexByte("ghjklmqrsuvwy", c|0x20) >= 0
	}
	return word
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func digit(c byte) bool { return c >= '0' && c <= '9' }

// length estimates how long v will be, so that the text is not copied as it grows.
func length(v any) (n int) {
	switch v := v.(type) {
	case getsops.TreeBranch:
		for _, item := range v {
			n += length(item.Key) + length(item.Value) + len(": \n")
		}
		n += len(v) * libyaml.IndentDefault
	case []any:
		for _, item := range v {
			n += length(item) + len("    - \n")
		}
	case string:
		n = len(v)
	default:
		n = len("false")
	}
	return n
}
