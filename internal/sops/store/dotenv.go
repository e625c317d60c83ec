package store

import (
	"bytes"
	"strings"

	"github.com/sluice-gitops/sluice/internal/sops/metadata"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// dotenvStore is lines of KEY=value and of # comments. Line ends inside values are written \n.
type dotenvStore struct{}

// Read implements Store.
func (dotenvStore) Read(data []byte) ([]tree.Branch, error) {
	var b tree.Branch
	n := 0
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		n++
		if len(line) == 0 {
			continue
		}
		if line[0] == '#' {
			b = append(b, tree.Item{Key: tree.Comment{Text: string(line[1:])}})
			continue
		}
		key, value, ok := bytes.Cut(line, []byte("="))
		if !ok {
			return nil, &SyntaxError{Line: n}
		}
		b = append(b, tree.Item{Key: string(key), Value: strings.ReplaceAll(string(value), `\n`, "\n")})
	}
	return []tree.Branch{b}, nil
}

// Take implements Store.
func (dotenvStore) Take(branches []tree.Branch) (*metadata.Metadata, error) {
	return metadata.TakeLines(branches)
}

// Put implements Store.
func (dotenvStore) Put(branches []tree.Branch, m *metadata.Metadata) ([]tree.Branch, error) {
	return m.PutLines(branches)
}

// Write implements Store: the first document alone.
func (dotenvStore) Write(branches []tree.Branch) ([]byte, error) {
	if len(branches) == 0 {
		return nil, ErrNoForm
	}
	var out bytes.Buffer
	for _, item := range branches[0] {
		switch item.Value.(type) {
		case tree.Branch, []any, tree.Comment:
			return nil, ErrNoForm
		}
		switch key := item.Key.(type) {
		case tree.Comment:
			out.WriteString("#" + key.Text + "\n")
		case string:
			value, ok := item.Value.(string)
			if ok {
				value = strings.ReplaceAll(value, "\n", `\n`)
			} else {
				value = tree.Text(item.Value)
			}
			out.WriteString(key + "=" + value + "\n")
		default:
			return nil, ErrNoForm
		}
	}
	return out.Bytes(), nil
}

// WriteValue implements Store: values are text.
func (dotenvStore) WriteValue(v any) ([]byte, error) {
	if text, ok := v.(string); ok {
		return []byte(text), nil
	}
	return nil, ErrNoForm
}

// Reserved implements Store.
func (dotenvStore) Reserved(b tree.Branch) bool {
	for _, item := range b {
		if key, ok := item.Key.(string); ok && strings.HasPrefix(key, metadata.Prefix) {
			return true
		}
	}
	return false
}
