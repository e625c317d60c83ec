package secrets

import (
	"bytes"
	"io"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// secretValues is what Flux's users encrypt of a Secret: kustomize must still see what it is and what it is called.
const secretValues = "^(data|stringData)$"

var kindSecret = lazyregexp.New(`(?m)^"?kind"?:\s*"?Secret\b`)

// manifests says whether data holds Kubernetes manifests, and whether a Secret is among them.
func manifests(data []byte, f sops.Format) (kubernetes, secret bool) {
	if f != sops.YAML && f != sops.JSON {
		return false, false
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc struct {
			APIVersion string `yaml:"apiVersion"`
			Kind       string `yaml:"kind"`
		}
		err := dec.Decode(&doc)
		if err == io.EOF {
			return kubernetes, secret
		}
		if err != nil { // what looks like a Secret must not be passed over because it does not parse
			looks := kindSecret.Match(data)
			return looks, looks
		}
		if (doc.APIVersion == "") != (doc.Kind == "") {
			return false, false
		}
		if doc.Kind == "" {
			if kubernetes {
				continue // a document of comments
			}
			return false, false
		}
		kubernetes = true
		secret = secret || doc.Kind == "Secret" && doc.APIVersion == "v1"
	}
}
