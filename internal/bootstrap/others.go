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

// adopt puts Flux's components besides Sluice's, and returns the files of the folder that hold such: OthersFile, and
// those that are named for source-controller or for a controller of r.Others. Files that stand beside the components already are rewritten only
// where they and the components hold the same.
func (w *writer) adopt(r Repository, components []byte) (files []string, err error) {
	taken, err := identities(map[string]bool{}, components)
	if err != nil {
		return nil, err
	}
	keep := separation{taken: taken, fluxSources: r.Components.FluxSources}
	if was := w.read(ComponentsFile); len(bytes.TrimSpace(was)) > 0 && !bytes.HasPrefix(was, ours) {
		kept, _, err := keep.others(was, "-others")
		if err != nil {
			return nil, err
		}
		if kept != nil {
			w.put(OthersFile, kept)
		}
	}
	named := []string{OthersFile, sourceController + ".yaml"}
	for _, name := range r.Others {
		if name != sourceController {
			named = append(named, name+".yaml")
		}
	}
	for _, name := range named {
		was := w.final(name)
		if len(bytes.TrimSpace(was)) == 0 {
			continue
		}
		suffix := "-others"
		if name != OthersFile {
			suffix = "-" + strings.TrimSuffix(name, ".yaml")
		}
		now, changed, err := keep.others(was, suffix)
		if err != nil {
			return nil, err
		}
		if changed {
			w.put(name, now)
		}
		if keep.taken, err = identities(keep.taken, w.final(name)); err != nil {
			return nil, err
		}
		files = append(files, name)
	}
	return files, nil
}

// separation parts what stays of a manifest of Flux's from what Sluice's components hold.
type separation struct {
	taken       map[string]bool // by identity: what stands elsewhere
	fluxSources bool            // Flux's source-controller stays
}

// replaces tells whether a Deployment of Flux does not go on beside Sluice.
func (s separation) replaces(d *yaml.RNode) bool {
	return d.GetKind() == "Deployment" && (d.GetName() == "kustomize-controller" || d.GetName() == sourceController && !s.fluxSources)
}

// others returns what of a manifest is to be kept, and whether that is less than all of it.
//
// Roles and bindings that Flux's controllers share a name with Sluice's are kept under names of their own, ending in
// suffix: Sluice's speak for kustomize-controller alone.
func (s separation) others(existing []byte, suffix string) (_ []byte, changed bool, err error) {
	found, err := documents(existing)
	if err != nil {
		return nil, false, err
	}
	renamed := map[string]string{} // roles, by the name that bindings refer to
	var kept []*yaml.RNode
	for _, d := range found {
		rbac := strings.HasPrefix(d.GetApiVersion(), "rbac.authorization.k8s.io/")
		switch {
		case s.taken[identity(d)] && !rbac, s.replaces(d):
			changed = true
			continue
		case s.taken[identity(d)]:
			changed = true
			renamed[d.GetKind()+"/"+d.GetName()] = d.GetName() + suffix
			if err := d.SetName(d.GetName() + suffix); err != nil {
				return nil, false, err
			}
		}
		kept = append(kept, d)
	}
	text, err := joined(kept, renamed)
	return text, changed, err
}

// identities adds those of a manifest.
func identities(to map[string]bool, manifest []byte) (map[string]bool, error) {
	docs, err := documents(manifest)
	for _, d := range docs {
		to[identity(d)] = true
	}
	return to, err
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
