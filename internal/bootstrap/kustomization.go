package bootstrap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// ComponentsFile and SyncFile are what bootstrap owns in the flux-system folder; KustomizationFile joins them with what
// the user adds.
const (
	ComponentsFile    = "gotk-components.yaml"
	SyncFile          = "gotk-sync.yaml"
	KustomizationFile = "kustomization.yaml"
)

// kustomizationYAML returns the flux-system folder's kustomization.yaml with resources and with patches as patch files.
// An existing one keeps everything it says, comments and order included, and gains what it lacks; when it lacks nothing
// it comes back byte for byte.
func kustomizationYAML(existing []byte, resources, patches []string) ([]byte, error) {
	if len(strings.TrimSpace(string(existing))) == 0 {
		existing = []byte("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n")
	}
	root, err := parseMapping(existing)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", KustomizationFile, err)
	}
	changed := false
	for _, name := range resources {
		added, err := listed{"resources", "", name}.addTo(root)
		if err != nil {
			return nil, err
		}
		changed = changed || added
	}
	for _, name := range patches {
		added, err := listed{"patches", "path", name}.addTo(root)
		if err != nil {
			return nil, err
		}
		changed = changed || added
	}
	if !changed {
		return existing, nil
	}
	text, err := root.String()
	return []byte(text), err
}

// parseMapping reads the one mapping that the file must be: what else stood in it would be lost when it is written.
func parseMapping(data []byte) (*yaml.RNode, error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	root := yaml.NewRNode(&doc)
	if root.YNode().Kind != yaml.MappingNode {
		return nil, errors.New("not a mapping")
	}
	return root, nil
}

// listed is one entry of a list of file names: a string, or a map with the name under key.
type listed struct{ field, key, name string }

// addTo appends the entry unless the list, or Flux's older patchesStrategicMerge, already names the file.
func (l listed) addTo(root *yaml.RNode) (bool, error) {
	if f := root.Field(l.field); f != nil && f.Value.YNode().Tag == yaml.NodeTagNull {
		if err := root.PipeE(yaml.Clear(l.field)); err != nil { // an appended entry would be lost in a null
			return false, fmt.Errorf("%s: %s: %w", KustomizationFile, l.field, err)
		}
	}
	list, err := root.Pipe(yaml.LookupCreate(yaml.SequenceNode, l.field))
	if err != nil {
		return false, fmt.Errorf("%s: %s: %w", KustomizationFile, l.field, err)
	}
	elements, err := list.Elements()
	if err != nil {
		return false, fmt.Errorf("%s: %s: %w", KustomizationFile, l.field, err)
	}
	if l.field == "patches" {
		if older := root.Field("patchesStrategicMerge"); older != nil && older.Value.YNode().Tag != yaml.NodeTagNull {
			more, err := older.Value.Elements()
			if err != nil {
				return false, fmt.Errorf("%s: patchesStrategicMerge: %w", KustomizationFile, err)
			}
			elements = append(elements, more...)
		}
	}
	for _, e := range elements {
		name := e.YNode().Value
		if f := e.Field(l.key); l.key != "" && e.YNode().Kind == yaml.MappingNode && f != nil {
			name = f.Value.YNode().Value
		}
		if clean(name) == clean(l.name) {
			return false, nil
		}
	}
	entry := yaml.NewStringRNode(l.name)
	if l.key != "" {
		entry = yaml.NewMapRNode(&map[string]string{l.key: l.name})
	}
	return true, list.PipeE(yaml.Append(entry.YNode()))
}
