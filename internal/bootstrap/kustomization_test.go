package bootstrap

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

// FuzzKustomizationYAML holds what bootstrap promises of a file that a person wrote: either it is refused, or the
// result names every file, a second run changes nothing, and nothing that was listed is gone.
func FuzzKustomizationYAML(f *testing.F) {
	for _, seed := range []string{
		"",
		"resources: [a.yaml] # mine\n",
		"resources:\n- gotk-sync.yaml\n- gotk-components.yaml\npatches:\n- patch: |\n    - {op: add, path: /x, value: 1}\n  target: {kind: Deployment}\n",
		"patchesStrategicMerge: [patches/kustomize-controller-deployment.yaml]\n",
		"patchesStrategicMerge: null\nresources: ~\n",
		"patches: [1, [2], {path: {a: b}}]\n",
		"&a resources: *a",
		"---\nkind: Kustomization\n---\nresources: []\n",
	} {
		f.Add([]byte(seed))
	}
	own, err := filepath.Glob("testdata/kustomization*.yaml")
	if err != nil || len(own) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range own {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		once, err := kustomizationYAML(bytes.Clone(data), []string{ComponentsFile, SyncFile}, patchPaths)
		if err != nil {
			return
		}
		twice, err := kustomizationYAML(bytes.Clone(once), []string{ComponentsFile, SyncFile}, patchPaths)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("a second run changes\n%s\nto\n%s\n(%v)", once, twice, err)
		}
		var before, after map[string]any
		if yaml.Unmarshal(data, &before) != nil || yaml.Unmarshal(once, &after) != nil {
			return // what kustomize will refuse to read anyway
		}
		were, _ := before["resources"].([]any)
		are, _ := after["resources"].([]any)
		for _, r := range were {
			if name, ok := r.(string); ok && !slices.Contains(are, r) {
				t.Errorf("resource %q is gone from\n%s", name, once)
			}
		}
		if len(are) < 2 {
			t.Errorf("resources %v in\n%s", are, once)
		}
	})
}
