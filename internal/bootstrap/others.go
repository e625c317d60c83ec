package bootstrap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// OthersFile holds what a gotk-components.yaml written by Flux had besides the controllers that Sluice replaces: the
// helm-, notification- and image controllers and every definition. They stay in the repository, because what leaves it
// is pruned, and with a definition go all its objects.
const OthersFile = "gotk-others.yaml"

const othersHeader = `# The components of Flux that Sluice does not replace, kept by "sluice bootstrap" as it found them. Update or remove them here.
`

// ours begins every gotk-components.yaml that Components wrote.
var ours = []byte(componentsHeader[:strings.Index(componentsHeader, "%s")])

// replaced are the Deployments of Flux that do not go on beside Sluice.
var replaced = map[string]bool{"source-controller": true, "kustomize-controller": true}

// others returns what of a gotk-components.yaml is to be kept beside components: nothing when Sluice wrote it.
//
// Roles and bindings that Flux's controllers share a name with Sluice's are kept under names of their own, ending in
// "-others": Sluice's speak for kustomize-controller alone.
func others(existing, components []byte) ([]byte, error) {
	if len(bytes.TrimSpace(existing)) == 0 || bytes.HasPrefix(existing, ours) {
		return nil, nil
	}
	taken := map[string]bool{}
	docs, err := documents(components)
	if err != nil {
		return nil, err
	}
	for _, d := range docs {
		taken[identity(d)] = true
	}
	found, err := documents(existing)
	if err != nil {
		return nil, err
	}
	renamed := map[string]string{} // roles, by the name that bindings refer to
	var kept []*yaml.RNode
	for _, d := range found {
		rbac := strings.HasPrefix(d.GetApiVersion(), "rbac.authorization.k8s.io/")
		switch {
		case taken[identity(d)] && !rbac, d.GetKind() == "Deployment" && replaced[d.GetName()]:
			continue
		case taken[identity(d)]:
			renamed[d.GetKind()+"/"+d.GetName()] = d.GetName() + "-others"
			if err := d.SetName(d.GetName() + "-others"); err != nil {
				return nil, err
			}
		}
		kept = append(kept, d)
	}
	return joined(kept, renamed)
}

func joined(kept []*yaml.RNode, renamed map[string]string) ([]byte, error) {
	if len(kept) == 0 {
		return nil, nil
	}
	out := bytes.NewBufferString(othersHeader)
	for _, d := range kept {
		if role, err := d.Pipe(yaml.Lookup("roleRef")); err == nil && role != nil {
			kind, _ := role.GetString("kind")
			name, _ := role.GetString("name")
			if now, ok := renamed[kind+"/"+name]; ok {
				if err := role.PipeE(yaml.SetField("name", yaml.NewStringRNode(now))); err != nil {
					return nil, err
				}
			}
		}
		text, err := d.String()
		if err != nil {
			return nil, err
		}
		out.WriteString("---\n" + text)
	}
	return out.Bytes(), nil
}

// documents takes a YAML stream apart, without its empty documents.
func documents(stream []byte) ([]*yaml.RNode, error) {
	var docs []*yaml.RNode
	for d := yaml.NewDecoder(bytes.NewReader(stream)); ; {
		var n yaml.Node
		err := d.Decode(&n)
		switch {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", ComponentsFile, err)
		}
		if doc := yaml.NewRNode(&n); doc.YNode() != nil && doc.YNode().Kind == yaml.MappingNode {
			docs = append(docs, doc)
		}
	}
}

// identity is what the API server tells objects apart by, the version aside.
func identity(d *yaml.RNode) string {
	group, _, grouped := strings.Cut(d.GetApiVersion(), "/")
	if !grouped {
		group = ""
	}
	return strings.Join([]string{group, d.GetKind(), d.GetNamespace(), d.GetName()}, "/")
}
