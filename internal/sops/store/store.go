// Package store reads and writes documents in SOPS's five formats: YAML, JSON, dotenv, INI and binary.
//
// It stands between bytes and trees, the metadata of sealed documents among them, and gives the bytes and trees that sops
// gives: a file's comments, order, types and layout survive as far as sops lets them. It knows no key and no rule. Its
// errors quote nothing of a document; at most they have the number of a line.
package store

import (
	"errors"
	"fmt"

	"github.com/sluice-gitops/sluice/internal/sops/metadata"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// Store is one format.
type Store interface {
	// Read parses a file. Only YAML gives more than one document, or none.
	Read(data []byte) ([]tree.Branch, error)
	// Take takes the metadata out of the documents of a sealed file. Errors are those of package metadata.
	Take(branches []tree.Branch) (*metadata.Metadata, error)
	// Put is the opposite of Take. The branches that it is given stay as they are.
	Put(branches []tree.Branch, m *metadata.Metadata) ([]tree.Branch, error)
	// Write gives the file of documents, sealed ones after Put.
	Write(branches []tree.Branch) ([]byte, error)
	// WriteValue gives one value, as sops's --extract prints those that are neither text nor mapping.
	WriteValue(v any) ([]byte, error)
	// Reserved says whether a plain document has an entry where metadata goes.
	Reserved(b tree.Branch) bool
}

// For gives a format by sops's name for it: "yaml", "json", "dotenv", "ini", anything else is binary. indent is the
// spaces of a level: in YAML 0 means 4; in JSON and binary documents 0 means a tab, and less than 0 none.
func For(format string, indent int) Store {
	switch format {
	case "yaml":
		return yamlStore{indent: indent}
	case "json":
		return jsonStore{indent: indent}
	case "dotenv":
		return dotenvStore{}
	case "ini":
		return iniStore{}
	}
	return binaryStore{jsonStore{indent: indent}}
}

// Sealed gives the store of a format's sealed files, which is another one for binary documents alone.
func Sealed(s Store) Store {
	if b, ok := s.(binaryStore); ok {
		return b.jsonStore
	}
	return s
}

// ReadSealed reads a sealed file whose documents were sealed together.
func ReadSealed(s Store, data []byte) ([]tree.Branch, *metadata.Metadata, error) {
	s = Sealed(s)
	branches, err := s.Read(data)
	if err != nil {
		return nil, nil, err
	}
	m, err := s.Take(branches)
	return branches, m, err
}

// WriteSealed writes the documents of a file with their metadata.
func WriteSealed(s Store, branches []tree.Branch, m *metadata.Metadata) ([]byte, error) {
	s = Sealed(s)
	whole, err := s.Put(branches, m)
	if err != nil {
		return nil, err
	}
	return s.Write(whole)
}

// ErrNoForm says that a format has no form for what is to be written.
var ErrNoForm = errors.New("the format has no form for a value")

// A SyntaxError says that a file is not of its format.
type SyntaxError struct{ Line int } // 0: not known

// Error tells the line.
func (e *SyntaxError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("syntax error in line %d", e.Line)
	}
	return "syntax error"
}

// nested is what YAML and JSON have in common: metadata is an entry of every document.
type nested struct{}

func (nested) Take(branches []tree.Branch) (*metadata.Metadata, error) {
	return metadata.Take(branches)
}

func (nested) Put(branches []tree.Branch, m *metadata.Metadata) ([]tree.Branch, error) {
	return m.Put(branches)
}

func (nested) Reserved(b tree.Branch) bool {
	_, found := b.Get(metadata.Key)
	return found
}
