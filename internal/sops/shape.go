package sops

import (
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v3"
)

var (
	errNesting = errors.New("nested too deeply")
	errAliases = errors.New("aliases expand too far")
)

const (
	maxNesting = 1000   // Kubernetes' own JSON decoder stops at 10,000; manifests stay below 100
	maxNodes   = 500000 // of a YAML stream with its aliases expanded
)

// checkShape refuses what would overflow the stack or the memory inside what reads it, which follows aliases and nesting
// without a bound; a stack overflow can't be recovered from and would end the process.
func checkShape(f Format, data []byte) error {
	switch f {
	case JSON, Binary:
		return checkJSONDepth(data)
	case YAML:
		if bytes.IndexByte(data, '*') >= 0 && bytes.IndexByte(data, '&') >= 0 {
			return checkAliases(data)
		}
	}
	return nil
}

func checkJSONDepth(data []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxNesting {
				return errNesting
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

func checkAliases(data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	budget := maxNodes
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); err == io.EOF {
			return nil
		} else if err != nil {
			return nil // the store meets the same error and stops at it
		}
		if err := spend(&doc, &budget, 0); err != nil {
			return err
		}
	}
}

// spend walks a node as the store will, aliases expanded, and stops when the walk grows too long. A node that
// contains itself runs out of depth.
func spend(n *yaml.Node, budget *int, depth int) error {
	if *budget--; *budget < 0 || depth > 10*maxNesting {
		return errAliases
	}
	if n.Kind == yaml.AliasNode {
		return spend(n.Alias, budget, depth+1)
	}
	for _, c := range n.Content {
		if err := spend(c, budget, depth+1); err != nil {
			return err
		}
	}
	return nil
}
