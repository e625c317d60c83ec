package store

import (
	"bytes"
	"encoding/json"
	"strings"

	"gopkg.in/ini.v1"

	"github.com/sluice-gitops/sluice/internal/sops/metadata"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// iniStore is sections of keys, through the parser that sops uses too: what it takes for a comment, a quote or a
// continued line is the format.
type iniStore struct{ nested }

var iniOptions = ini.LoadOptions{AllowNonUniqueSections: true}

// Read implements Store.
func (iniStore) Read(data []byte) ([]tree.Branch, error) {
	file, err := ini.LoadSources(iniOptions, data)
	if err != nil {
		return nil, &SyntaxError{}
	}
	var b tree.Branch
	for _, section := range file.Sections() {
		var keys tree.Branch
		note := func(comment string) {
			if comment != "" {
				keys = append(keys, tree.Item{Key: tree.Comment{Text: withoutMark(comment)}})
			}
		}
		note(section.Comment)
		for _, key := range section.Keys() {
			keys = append(keys, tree.Item{Key: key.Name(), Value: key.Value()})
			note(key.Comment) // behind its key, although it stands before it
		}
		b = append(b, tree.Item{Key: section.Name(), Value: keys})
	}
	return []tree.Branch{b}, nil
}

// withoutMark leaves of a comment what its first line's mark does not begin with.
func withoutMark(comment string) string {
	switch comment[0] {
	case ';':
		return strings.TrimLeft(comment, "; ")
	case '#':
		return strings.TrimLeft(comment, "# ")
	}
	return comment
}

// Take implements Store.
func (iniStore) Take(branches []tree.Branch) (*metadata.Metadata, error) {
	return metadata.TakeSection(branches)
}

// Put implements Store.
func (iniStore) Put(branches []tree.Branch, m *metadata.Metadata) ([]tree.Branch, error) {
	return m.PutSection(branches)
}

// Write implements Store.
func (iniStore) Write(branches []tree.Branch) ([]byte, error) {
	file := ini.Empty(iniOptions)
	file.DeleteSection(ini.DefaultSection)
	for _, b := range branches {
		for _, item := range b {
			if _, comment := item.Key.(tree.Comment); comment {
				continue
			}
			name, ok := item.Key.(string)
			keys, isSection := item.Value.(tree.Branch)
			if !ok || !isSection {
				return nil, ErrNoForm
			}
			section, err := file.NewSection(name)
			if err != nil {
				return nil, ErrNoForm
			}
			if err := writeSection(section, keys); err != nil {
				return nil, err
			}
		}
	}
	var out bytes.Buffer
	if _, err := file.WriteTo(&out); err != nil {
		return nil, ErrNoForm
	}
	return out.Bytes(), nil
}

func writeSection(section *ini.Section, keys tree.Branch) error {
	var last *ini.Key
	for i, item := range keys {
		switch key := item.Key.(type) {
		case tree.Comment:
			switch {
			case i == 0:
				section.Comment = commentLines(key.Text)
			case last != nil:
				last.Comment = commentLines(key.Text)
			}
		case string:
			switch item.Value.(type) {
			case tree.Branch, []any, tree.Comment:
				return ErrNoForm
			}
			var err error
			if last, err = section.NewKey(key, tree.Text(item.Value)); err != nil {
				return ErrNoForm
			}
		default:
			return ErrNoForm
		}
	}
	return nil
}

// commentLines gives empty lines of a comment the mark that the library looks for in each line.
func commentLines(comment string) string {
	if comment == "" {
		return ""
	}
	lines := strings.Split(comment, ini.LineBreak)
	for i, line := range lines {
		if line == "" {
			lines[i] = ";"
		}
	}
	return strings.Join(lines, ini.LineBreak)
}

// WriteValue implements Store.
func (iniStore) WriteValue(v any) ([]byte, error) {
	switch v.(type) {
	case tree.Branch, []any, tree.Comment:
		return nil, ErrNoForm
	}
	out, err := json.Marshal(v)
	if err != nil {
		return nil, ErrNoForm
	}
	return out, nil
}
