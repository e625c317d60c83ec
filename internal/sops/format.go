package sops

import (
	"fmt"
	"strings"

	getsops "github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/stores/dotenv"
	"github.com/getsops/sops/v3/stores/ini"
	"github.com/getsops/sops/v3/stores/json"
	"github.com/getsops/sops/v3/stores/yaml"
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

// store returns the library's reader and writer of a format; indent applies to YAML, 0 is the library's default.
func store(f Format, indent int) getsops.Store { return Indents{YAML: indent}.store(f) }

func (in Indents) store(f Format) getsops.Store {
	c := config.NewStoresConfig()
	c.YAML.Indent = in.YAML
	if in.JSON != 0 {
		c.JSON.Indent = max(in.JSON, 0)
	}
	if in.Binary != 0 {
		c.JSONBinary.Indent = max(in.Binary, 0)
	}
	switch f {
	case YAML:
		return yamlStore{yaml.NewStore(&c.YAML), in.YAML}
	case JSON:
		return json.NewStore(&c.JSON)
	case Dotenv:
		return dotenv.NewStore(&c.Dotenv)
	case INI:
		return ini.NewStore(&c.INI)
	}
	return json.NewBinaryStore(&c.JSONBinary)
}
