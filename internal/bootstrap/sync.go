package bootstrap

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// SyncOptions say which repository and folder a cluster follows. URL and Path are required.
type SyncOptions struct {
	Name         string        // of both objects; the namespace's name if empty
	Namespace    string        // DefaultNamespace if empty
	URL          string        // http, https or ssh
	Branch       string        // "main" if empty
	Path         string        // folder inside the repository, with or without "./"
	SecretRef    string        // Secret with the Git credentials; none if empty
	Interval     time.Duration // between looks at the remote; 1m if zero
	SyncInterval time.Duration // between verifications of the cluster; 10m if zero
	Submodules   bool          // fetch Git submodules too
}

func (o SyncOptions) withDefaults() SyncOptions {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.Name == "" {
		o.Name = o.Namespace
	}
	if o.Branch == "" {
		o.Branch = "main"
	}
	if o.Interval == 0 {
		o.Interval = time.Minute
	}
	if o.SyncInterval == 0 {
		o.SyncInterval = 10 * time.Minute
	}
	return o
}

func (o SyncOptions) check() error {
	if o.URL == "" {
		return errors.New("the repository's URL is missing")
	}
	for what, name := range map[string]string{"name": o.Name, "namespace": o.Namespace} {
		if errs := validation.IsDNS1123Subdomain(name); len(errs) > 0 {
			return fmt.Errorf("%s %q: %s", what, name, errs[0])
		}
	}
	return nil
}

const syncHeader = `# Written by "sluice bootstrap". Do not edit: patch it from kustomization.yaml.
`

// Sync returns gotk-sync.yaml: the GitRepository and the Kustomization by which the cluster follows the repository.
func Sync(o SyncOptions) ([]byte, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	meta := map[string]any{"name": o.Name, "namespace": o.Namespace}
	source := map[string]any{
		"interval": o.Interval.String(),
		"ref":      map[string]any{"branch": o.Branch},
		"url":      o.URL,
	}
	if o.SecretRef != "" {
		source["secretRef"] = map[string]any{"name": o.SecretRef}
	}
	if o.Submodules {
		source["recurseSubmodules"] = true
	}
	out := []byte(syncHeader)
	for _, obj := range []map[string]any{
		{"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": meta, "spec": source},
		{"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": meta, "spec": map[string]any{
			"interval":  o.SyncInterval.String(),
			"path":      dotSlash(o.Path),
			"prune":     true,
			"sourceRef": map[string]any{"kind": "GitRepository", "name": o.Name},
		}},
	} {
		text, err := yaml.Marshal(obj)
		if err != nil {
			return nil, err
		}
		out = append(append(out, "---\n"...), text...)
	}
	return out, nil
}

// dotSlash writes a folder of a repository as Flux does: from the root, with a leading "./".
func dotSlash(folder string) string { return "./" + clean(folder) }

// clean gives a folder relative to the repository's root; the root itself is the empty string. What climbs above the
// root is clamped to it.
func clean(folder string) string { return strings.TrimPrefix(path.Clean("/"+folder), "/") }
