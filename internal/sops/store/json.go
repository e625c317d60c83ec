package store

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// jsonStore is JSON with its keys in order. A document is one object.
type jsonStore struct {
	nested
	indent int
}

// Read implements Store. What stands behind the object is not looked at, as in sops.
func (jsonStore) Read(data []byte) ([]tree.Branch, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // a float64 would lose digits of integers beyond 2⁵³
	first, err := dec.Token()
	if err != nil || first != json.Delim('{') {
		return nil, syntaxError(data, dec.InputOffset())
	}
	b, err := readObject(dec)
	if err != nil {
		return nil, syntaxError(data, dec.InputOffset())
	}
	return []tree.Branch{b}, nil
}

func syntaxError(data []byte, offset int64) error {
	offset = min(offset, int64(len(data)))
	return &SyntaxError{Line: 1 + bytes.Count(data[:offset], []byte("\n"))}
}

func readObject(dec *json.Decoder) (b tree.Branch, err error) {
	for {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return b, nil // the closing brace: the decoder lets nothing else pass
		}
		v, _, err := readValue(dec)
		if err != nil {
			return nil, err
		}
		b = append(b, tree.Item{Key: name, Value: v})
	}
}

// readValue gives the next value; end says that it was a list's closing bracket instead.
func readValue(dec *json.Decoder) (v any, end bool, err error) {
	t, err := dec.Token()
	if err != nil {
		return nil, false, err
	}
	switch t := t.(type) {
	case json.Delim:
		switch t {
		case '{':
			v, err = readObject(dec)
			return v, false, err
		case '[':
			v, err = readArray(dec)
			return v, false, err
		}
		return nil, true, nil
	case json.Number:
		if n, err := t.Int64(); err == nil {
			return int(n), false, nil
		}
		f, err := t.Float64()
		return f, false, err
	}
	return t, false, nil
}

func readArray(dec *json.Decoder) (list []any, err error) {
	for {
		v, end, err := readValue(dec)
		if err != nil || end {
			return list, err
		}
		list = append(list, v)
	}
}

// Write implements Store: the first document alone, without comments.
func (s jsonStore) Write(branches []tree.Branch) ([]byte, error) {
	if len(branches) == 0 {
		return nil, ErrNoForm
	}
	out, err := s.WriteValue(branches[0])
	if err != nil {
		return nil, err
	}
	return append(out, '\n'), nil
}

// WriteValue implements Store.
func (s jsonStore) WriteValue(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := writeJSON(&b, v); err != nil {
		return nil, ErrNoForm
	}
	indent := "\t"
	if s.indent != 0 {
		indent = strings.Repeat(" ", max(s.indent, 0))
	}
	var out bytes.Buffer
	out.Grow(b.Len() + b.Len()/4 + 1)
	err := json.Indent(&out, b.Bytes(), "", indent)
	return out.Bytes(), err
}

func writeJSON(out *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case tree.Branch:
		out.WriteByte('{')
		first := true
		for _, item := range v {
			if _, comment := item.Key.(tree.Comment); comment {
				continue
			}
			key, ok := item.Key.(string)
			if !ok {
				return ErrNoForm
			}
			separate(out, &first)
			if err := writeJSON(out, key); err != nil {
				return err
			}
			out.WriteByte(':')
			if err := writeJSON(out, item.Value); err != nil {
				return err
			}
		}
		out.WriteByte('}')
		return nil
	case []any:
		out.WriteByte('[')
		first := true
		for _, item := range v {
			if _, comment := item.(tree.Comment); comment {
				continue
			}
			separate(out, &first)
			if err := writeJSON(out, item); err != nil {
				return err
			}
		}
		out.WriteByte(']')
		return nil
	case tree.Comment:
		return ErrNoForm
	}
	text, err := json.Marshal(v)
	out.Write(text)
	return err
}

func separate(out *bytes.Buffer, first *bool) {
	if !*first {
		out.WriteByte(',')
	}
	*first = false
}
