package bootstrap

import (
	"bytes"
	"embed"
	"fmt"
	"strconv"
	"strings"
)

// manifests are YAML that holds "${name}" where a value goes, and lines "#if name", "#if !name" and "#end" around what
// not every choice of options has.
//
//go:embed manifests/*.yaml
var manifests embed.FS

// writeManifest appends one of manifests as the options want it, "---" above it unless nothing of it is left. Package
// text/template would do, but it looks methods up by name at run time, and the linker keeps every method of every type
// for it: a third of the program.
func writeManifest(out *bytes.Buffer, name string, o Options) error {
	text, err := manifests.ReadFile("manifests/" + name)
	if err != nil {
		return err
	}
	filled, err := fill(string(text), o.values(), o.choices())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if filled != "" {
		out.WriteString("---\n" + filled)
	}
	return nil
}

// choices are the names after "#if".
func (o Options) choices() map[string]bool {
	return map[string]bool{
		"flux-sources": o.FluxSources, "network-policy": !o.NoNetworkPolicy,
		"pull-secret": o.PullSecret != "", "tolerations": len(o.TolerationKeys) > 0,
	}
}

// values are the names in "${…}". Options that were checked need no quoting beyond what stands in manifests.
func (o Options) values() map[string]string {
	v := map[string]string{
		"namespace": o.Namespace, "version": o.VersionLabel(), "image": o.Image, "log-level": o.LogLevel,
		"cluster-domain": o.ClusterDomain, "pull-secret": o.PullSecret, "all-namespaces": strconv.FormatBool(!o.OwnNamespaceOnly),
		"events-addr": "", "served": "Artifacts and metrics", "source-verbs": "get, list, watch, create, update, patch, delete",
	}
	if o.Notify {
		v["events-addr"] = "http://notification-controller.$(RUNTIME_NAMESPACE).svc." + o.ClusterDomain + "./"
	}
	if o.FluxSources {
		v["served"], v["source-verbs"] = "Metrics", "get, list, watch"
	}
	var bears []string
	for _, key := range o.TolerationKeys {
		bears = append(bears, `- key: "`+key+`"`, "  operator: Exists")
	}
	v["tolerations"] = strings.Join(bears, "\n      ")
	return v
}

// fill answers the lines "#if" and puts in the values. Its errors are those of a manifest that names what there isn't.
func fill(text string, values map[string]string, choices map[string]bool) (string, error) {
	var kept strings.Builder
	var open []bool // for each "#if" around the line: whether what it holds stays
	for line := range strings.Lines(text) {
		word, ask, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case word == "#if":
			name, not := strings.CutPrefix(ask, "!")
			holds, known := choices[name]
			if !known {
				return "", fmt.Errorf("there is no choice %q", name)
			}
			open = append(open, holds != not && (len(open) == 0 || open[len(open)-1]))
		case word == "#end" && len(open) == 0:
			return "", fmt.Errorf("#end without #if")
		case word == "#end":
			open = open[:len(open)-1]
		case len(open) == 0 || open[len(open)-1]:
			if err := put(&kept, line, values); err != nil {
				return "", err
			}
		}
	}
	if len(open) > 0 {
		return "", fmt.Errorf("#if without #end")
	}
	return kept.String(), nil
}

// put writes a line with its values. A value's own "${" stays as it is.
func put(out *strings.Builder, line string, values map[string]string) error {
	for {
		before, rest, found := strings.Cut(line, "${")
		out.WriteString(before)
		if !found {
			return nil
		}
		name, after, _ := strings.Cut(rest, "}")
		value, known := values[name]
		if !known {
			return fmt.Errorf("there is no value %q", name)
		}
		out.WriteString(value)
		line = after
	}
}
