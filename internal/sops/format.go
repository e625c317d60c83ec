package sops

import (
	"fmt"
	"strings"

	"github.com/sluice-gitops/sluice/internal/sops/store"
)

// Format is how a document is written down. Its values are the names that sops's --input-type takes.
type Format string

// The formats. Binary documents are JSON with the content as one value.
const (
	YAML   Format = "yaml"
	JSON   Format = "json"
	Dotenv Format = "dotenv"
	INI    Format = "ini"
	Binary Format = "binary"
)

// FormatFor tells the format by the file's name, as sops and Flux do.
func FormatFor(path string) Format {
	for suffix, f := range map[string]Format{".yaml": YAML, ".yml": YAML, ".json": JSON, ".env": Dotenv, ".ini": INI} {
		if strings.HasSuffix(path, suffix) {
			return f
		}
	}
	return Binary
}

// ParseFormat reads a format's name, as --input-type and --output-type give it.
func ParseFormat(name string) (Format, error) {
	switch f := Format(name); f {
	case YAML, JSON, Dotenv, INI, Binary:
		return f, nil
	case "env":
		return Dotenv, nil
	}
	return "", fmt.Errorf("format %q: want yaml, json, dotenv, ini or binary", name)
}

// Indents are the spaces of one level, as the stores of .sops.yaml set them. For YAML 0 means 4; for JSON 0 means a tab
// and a negative number none.
type Indents struct{ YAML, JSON, Binary int }

// Store returns the reader and writer of a format with its default layout.
func (f Format) Store() store.Store { return store.For(string(f), 0) }

func (in Indents) store(f Format) store.Store {
	return store.For(string(f), map[Format]int{YAML: in.YAML, JSON: in.JSON, Binary: in.Binary}[f])
}
