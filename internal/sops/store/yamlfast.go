package store

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// manyEntries is how large a mapping must be to be written without the YAML library, which holds nodes and events of all
// of a document at once: a megabyte of values took it ten megabytes. Tests set it to 0.
var manyEntries = 256

// writeLarge writes documents of which some mapping is large: that one entry by entry, what surrounds it by the library,
// whose text for an entry is the same at any depth but for the spaces before it. ok is false for documents that are small
// or have comments.
func writeLarge(branches []tree.Branch, indent int) (out []byte, ok bool) {
	large := false
	for _, b := range branches {
		if len(b) == 0 || commentedTree(b) {
			return nil, false
		}
		large = large || hasLarge(b)
	}
	if !large {
		return nil, false
	}
	w := &entryWriter{indent: indent}
	for i, b := range branches {
		if i > 0 {
			w.out.WriteString("---\n")
		}
		w.out.Grow(length(b, indent))
		if w.mapping(b, 0) != nil {
			return nil, false
		}
	}
	return w.out.Bytes(), true
}

// entryWriter writes mappings entry by entry.
type entryWriter struct {
	out    bytes.Buffer
	indent int
}

func (w *entryWriter) mapping(b tree.Branch, depth int) error {
	pad := strings.Repeat(" ", depth*w.indent)
	for start := 0; start < len(b); {
		key, sure := b[start].Key.(string)
		sure = sure && len(key) <= 100 && surelyPlain(key)
		switch v := b[start].Value.(type) {
		case string:
			if sure && surelyPlain(v) {
				w.out.WriteString(pad)
				w.out.WriteString(key)
				w.out.WriteString(": ")
				w.out.WriteString(v)
				w.out.WriteByte('\n')
				start++
				continue
			}
		case tree.Branch:
			if sure && hasLarge(v) {
				w.out.WriteString(pad + key + ":\n")
				if err := w.mapping(v, depth+1); err != nil {
					return err
				}
				start++
				continue
			}
		}
		end := start + 1
		for end < len(b) && end-start < 64 && !hasLarge(b[end].Value) {
			end++
		}
		if err := w.entries(b[start:end], pad); err != nil {
			return err
		}
		start = end
	}
	return nil
}

// entries has the library write some entries, and moves them to the right.
func (w *entryWriter) entries(b tree.Branch, pad string) error {
	root := nodes(b)
	if root == nil {
		return ErrNoForm
	}
	var text bytes.Buffer
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(w.indent)
	if err := enc.Encode(root); err != nil {
		return err
	}
	if err := enc.Close(); err != nil {
		return err
	}
	for line := range bytes.Lines(text.Bytes()) {
		if len(line) > 1 {
			w.out.WriteString(pad)
		}
		w.out.Write(line)
	}
	return nil
}

func hasLarge(v any) bool {
	b, ok := v.(tree.Branch)
	if !ok || len(b) == 0 {
		return false
	}
	if len(b) >= manyEntries {
		return true
	}
	for _, item := range b {
		if hasLarge(item.Value) {
			return true
		}
	}
	return false
}

func commentedTree(v any) bool {
	switch v := v.(type) {
	case tree.Branch:
		for _, item := range v {
			if _, comment := item.Key.(tree.Comment); comment || commentedTree(item.Value) {
				return true
			}
		}
	case []any:
		for _, item := range v {
			if commentedTree(item) {
				return true
			}
		}
	case tree.Comment:
		return true
	}
	return false
}

// length estimates how long v will be, so that the text is not copied as it grows.
func length(v any, indent int) (n int) {
	switch v := v.(type) {
	case tree.Branch:
		for _, item := range v {
			n += length(item.Key, indent) + length(item.Value, indent) + len(": \n") + indent
		}
	case []any:
		for _, item := range v {
			n += length(item, indent) + len("- \n") + indent
		}
	case string:
		return len(v)
	default:
		return len("false")
	}
	return n
}

// surelyPlain tells strings that YAML writes as they stand, such as every sealed value: they are longer than any word with
// a meaning of its own (false), begin with a letter or hold one that no number and no date has, and hold nothing that
// could end a plain scalar. Shorter ones are words of letters, digits and dashes that mean nothing.
func surelyPlain(s string) bool {
	if len(s) <= len("false") {
		return plainWord(s)
	}
	if s[len(s)-1] == ':' {
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

// plainWord knows the words that YAML 1.1 and 1.2 take for something else, in any case.
func plainWord(s string) bool {
	if s == "" || !letter(s[0]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !letter(c) && !digit(c) && c != '-' && c != '_' {
			return false
		}
	}
	for _, meaning := range [...]string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"} {
		if len(s) == len(meaning) && strings.EqualFold(s, meaning) {
			return false
		}
	}
	return true
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func digit(c byte) bool { return c >= '0' && c <= '9' }
