package sops

import (
	"bytes"
	"encoding/json"
	"strings"

	"go.yaml.in/yaml/v3"
)

// IsEncrypted reports whether data is a SOPS document: it has sops metadata, at the top level, with a MAC or the time
// that every sealed document carries. A document whose MAC line was cut out is still one, so that Open refuses it; a
// `sops:` mapping of somebody else's is not. It holds for a YAML stream if any of its documents is sealed.
//
// Files that are not encrypted, which are most, cost one search for a word.
func IsEncrypted(path string, data []byte) bool {
	if !bytes.Contains(data, []byte("sops")) {
		return false
	}
	switch FormatFor(path) {
	case YAML:
		return yamlEncrypted(data)
	case Dotenv:
		return dotenvEncrypted(data)
	case INI:
		return iniEncrypted(data)
	}
	return jsonEncrypted(data)
}

// sealMark tells the keys of the metadata that make a document a sealed one.
func sealMark(key string) bool { return key == "mac" || key == "lastmodified" }

// yamlEncrypted looks at lines first: sops writes its metadata as a block at column 0. Everything else (flow style,
// quoted keys, an indented root, JSON under a YAML name) goes to the parser.
func yamlEncrypted(data []byte) bool {
	var (
		inside     bool // below a line "sops:"
		indent     int  // of the first key there; 0: none seen yet
		docStart   = true
		suspicious bool
	)
	for line := range bytes.Lines(data) {
		line = bytes.TrimRight(line, " \t\r\n")
		text := bytes.TrimLeft(line, " \t")
		switch {
		case len(text) == 0 || text[0] == '#':
		case len(text) < len(line):
			suspicious = suspicious || docStart
			docStart = false
			if !inside {
				continue
			}
			if indent == 0 {
				indent = len(line) - len(text)
			}
			if key, _, ok := strings.Cut(string(text), ":"); ok && len(line)-len(text) == indent && sealMark(key) {
				return true
			}
		default:
			docStart = bytes.HasPrefix(line, []byte("---"))
			inside, indent = bytes.Equal(line, []byte("sops:")), 0
			suspicious = suspicious || line[0] == '{' || !inside && bytes.Contains(line, []byte("sops"))
		}
	}
	if suspicious && len(data) > MaxSize {
		return bytes.Contains(data, []byte("ENC[AES256_GCM,")) // Open refuses it, which is what matters
	}
	return suspicious && yamlStreamEncrypted(data)
}

func yamlStreamEncrypted(data []byte) (sealed bool) {
	defer func() {
		if recover() != nil { // the parser's bug is no reason to end the process
			sealed = false
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		if dec.Decode(&doc) != nil {
			return false // unparsable from here on; whoever builds it will say so
		}
		if len(doc.Content) == 1 && nodeSealed(doc.Content[0]) {
			return true
		}
	}
}

func nodeSealed(root *yaml.Node) bool {
	meta := field(root, func(k string) bool { return k == "sops" })
	return meta != nil && field(meta, sealMark) != nil
}

// field returns the value of the first key of a mapping that want accepts.
func field(mapping *yaml.Node, want func(string) bool) *yaml.Node {
	if mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if want(mapping.Content[i].Value) {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// jsonEncrypted reads tokens down to depth 2 and keeps nothing.
func jsonEncrypted(data []byte) bool {
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	var keys [2]string // the current key at depth 1 and 2
	depth, isKey := 0, false
	var arrays []bool // whether each open level is an array
	for {
		t, err := dec.Token()
		if err != nil {
			return false
		}
		switch v := t.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				depth++
				arrays = append(arrays, v == '[')
				isKey = v == '{'
			} else {
				depth--
				arrays = arrays[:depth]
				isKey = depth > 0 && !arrays[depth-1]
			}
		case string:
			if !isKey {
				isKey = depth > 0 && !arrays[depth-1]
				continue
			}
			if depth <= 2 {
				keys[depth-1] = v
			}
			if depth == 2 && keys[0] == "sops" && sealMark(v) {
				return true
			}
			isKey = false
		default:
			isKey = depth > 0 && !arrays[depth-1]
		}
		if depth == 0 {
			return false
		}
	}
}

func dotenvEncrypted(data []byte) bool {
	for line := range bytes.Lines(data) {
		if key, _, ok := strings.Cut(string(line), "="); ok {
			if rest, found := strings.CutPrefix(key, "sops_"); found && sealMark(rest) {
				return true
			}
		}
	}
	return false
}

func iniEncrypted(data []byte) bool {
	inside := false
	for line := range bytes.Lines(data) {
		s := strings.TrimSpace(string(line))
		if strings.HasPrefix(s, "[") {
			inside = s == "[sops]"
			continue
		}
		if key, _, ok := strings.Cut(s, "="); inside && ok && sealMark(strings.TrimSpace(key)) {
			return true
		}
	}
	return false
}
