package check

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// plain judges a file that is not sealed.
func (r *run) plain(name string, data []byte) (found []Finding, err error) {
	if r.Before != nil {
		before, err := r.Before(name)
		if err != nil {
			return nil, err
		}
		if before != nil && sops.IsEncrypted(name, before) {
			return []Finding{finding(NewlyPlain, name, 1, "the file was sealed in the last commit and is plain now",
				"it was decrypted in place, or written over", "sluice secrets encrypt -i "+word(name))}, nil
		}
	}
	if base := path.Base(name); strings.Contains(base, ".sops.") && base != ".sops.yaml" && base != ".sops.yml" || strings.Contains(base, ".enc.") {
		if len(bytes.TrimSpace(data)) > 0 {
			return []Finding{finding(PlainName, name, 1, "the file is plain, and its name says that it is sealed", "", "sluice secrets encrypt -i "+word(name))}, nil
		}
	}
	format := sops.FormatFor(name)
	if isKustomization(name) {
		format = sops.YAML // the third name has no extension
	}
	secrets, generators := bytes.Contains(data, []byte("Secret")), isKustomization(name) && bytes.Contains(data, []byte("secretGenerator"))
	if format != sops.YAML && format != sops.JSON || !secrets && !generators {
		return nil, nil
	}
	nodes, err := parsed(data)
	if err != nil {
		return nil, nil // a template, or a file that the build will complain about
	}
	for _, n := range nodes {
		if generators {
			more, err := r.generators(name, n)
			if err != nil {
				return nil, err
			}
			found = append(found, more...)
		}
		found = append(found, secretFindings(name, n, 0)...)
	}
	return found, nil
}

// parsed is documents without the parser's panics.
func parsed(data []byte) (nodes []*yaml.Node, err error) {
	defer func() {
		if recover() != nil {
			nodes, err = nil, fmt.Errorf("it cannot be parsed")
		}
	}()
	return documents(data)
}

func isKustomization(name string) bool {
	switch path.Base(name) {
	case "kustomization.yaml", "kustomization.yml", "Kustomization":
		return true
	}
	return false
}

// variable is a value that comes from elsewhere: Flux substitutes it after the build.
var variable = lazyregexp.New(`^(\$\{[^}]*\})+$`)

// maxLists is how deep Lists are looked for in Lists; a real one holds none.
const maxLists = 3

// secretFindings finds Secrets with values in a plain document, in Lists too.
func secretFindings(name string, n *yaml.Node, depth int) (out []Finding) {
	switch kind := text(child(n, "kind")); {
	case kind == "Secret" && text(child(n, "apiVersion")) == "v1":
		meta := child(n, "metadata")
		object := "Secret/" + text(child(meta, "name"))
		if ns := text(child(meta, "namespace")); ns != "" {
			object = "Secret/" + ns + "/" + text(child(meta, "name"))
		}
		for _, field := range []string{"data", "stringData"} {
			values := child(n, field)
			if values == nil || values.Kind != yaml.MappingNode {
				continue
			}
			for i := 0; i+1 < len(values.Content); i += 2 {
				if v := text(follow(values.Content[i+1])); v != "" && !variable.MatchString(v) {
					return append(out, finding(PlainSecret, name, values.Content[i].Line, object+" is not sealed: "+field+"."+values.Content[i].Value+" has a value",
						"whoever can read the repository, and its history, can read it", "sluice secrets encrypt -i "+word(name)))
				}
			}
		}
	case strings.HasSuffix(kind, "List") && depth < maxLists:
		if items := child(n, "items"); items != nil && items.Kind == yaml.SequenceNode {
			for _, item := range items.Content {
				if item = follow(item); item.Kind == yaml.MappingNode {
					out = append(out, secretFindings(name, item, depth+1)...)
				}
			}
		}
	}
	return out
}

// generators looks at what the secretGenerators of a kustomization read, where a rule covers it.
func (r *run) generators(name string, n *yaml.Node) (out []Finding, err error) {
	list := child(n, "secretGenerator")
	if list == nil || list.Kind != yaml.SequenceNode {
		return nil, nil
	}
	own, _, err := r.rules.of(name)
	if err != nil {
		return nil, err
	}
	for _, g := range list.Content {
		if literals := child(g, "literals"); own != nil && literals != nil {
			for _, l := range literals.Content {
				if key, v, ok := strings.Cut(text(follow(l)), "="); ok && v != "" && !variable.MatchString(v) {
					out = append(out, finding(PlainGenerator, name, l.Line, "the literal "+key+" of the secretGenerator "+text(child(g, "name"))+" is plain",
						"a kustomization cannot be sealed", "move the literal into a sealed file and name that under envs"))
				}
			}
		}
		var files []*yaml.Node
		for _, field := range []string{"files", "envs"} {
			if l := child(g, field); l != nil {
				files = append(files, l.Content...)
			}
		}
		if env := child(g, "env"); env != nil {
			files = append(files, env)
		}
		for _, f := range files {
			more, err := r.generated(name, text(follow(f)), f.Line)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

func (r *run) generated(name, source string, line int) ([]Finding, error) {
	if key, file, ok := strings.Cut(source, "="); ok && !strings.Contains(key, "/") {
		source = file
	}
	file := path.Join(path.Dir(name), source)
	if source == "" || strings.Contains(source, "://") || strings.HasPrefix(file, "..") {
		return nil, nil
	}
	rule, _, err := r.rules.of(file)
	if err != nil || rule == nil {
		return nil, err
	}
	data, err := r.Read(file)
	if err != nil || len(bytes.TrimSpace(data)) == 0 || sops.IsEncrypted(file, data) || sops.IsEncrypted(file+".env", data) {
		return nil, nil // a missing file is the build's to report
	}
	return []Finding{finding(PlainGenerator, name, line, "the secretGenerator reads "+file+", which is plain",
		fmt.Sprintf("%s:%d covers that file", rule.File, rule.Line), "sluice secrets encrypt -i "+word(file))}, nil
}
