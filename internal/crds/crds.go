// Package crds holds the CustomResourceDefinitions that Sluice serves: GitRepository and Kustomization, generated from
// Flux's Go API types, as v1 (stored) and v1beta2.
//
// Both versions carry one schema, v1's widened by the fields that only v1beta2 had, so that the API server's conversion
// by name loses nothing. The package refuses to talk to a cluster: bootstrap puts the definitions into the components
// manifest, tests install them.
package crds

import (
	"bytes"
	_ "embed"
	"fmt"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

//go:generate go run ./generate -o crds.yaml

//go:embed crds.yaml
var text []byte

// YAML returns the definitions as a stream of YAML documents, each begun by "---", under a comment.
func YAML() []byte { return bytes.Clone(text) }

// All returns the definitions. The caller owns what it gets.
func All() []*apiextensionsv1.CustomResourceDefinition {
	parsed := parse()
	out := make([]*apiextensionsv1.CustomResourceDefinition, len(parsed))
	for i, def := range parsed {
		out[i] = def.DeepCopy()
	}
	return out
}

var parse = sync.OnceValue(func() []*apiextensionsv1.CustomResourceDefinition {
	var out []*apiextensionsv1.CustomResourceDefinition
	for _, doc := range bytes.Split(text, []byte("---\n"))[1:] {
		def := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(doc, def); err != nil {
			panic(fmt.Sprintf("crds: the embedded definitions are damaged: %v", err)) // a build fault: tests parse them
		}
		out = append(out, def)
	}
	return out
})
