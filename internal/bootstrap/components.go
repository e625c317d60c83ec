// Package bootstrap writes the manifests that put Sluice into a cluster and into its repository: the components, the
// sync of the repository with itself, the kustomization that joins them, and the patches that switch on Azure workload
// identity.
//
// The names are Flux's (Deployment and ServiceAccount kustomize-controller, Service source-controller, the ClusterRoles)
// so that federated credentials, patches and other Flux controllers go on working. Of what a user's repository already
// holds, only gotk-components.yaml and gotk-sync.yaml are overwritten.
//
// The package is pure: it writes no file, and talks to neither Git nor a cluster; its callers do.
package bootstrap

import (
	"bytes"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/crds"
)

// Release is the version that the repository's generated examples name: the one being worked towards, or released.
const Release = "v0.1.0"

// DefaultNamespace is where the components live unless told otherwise.
const DefaultNamespace = "flux-system"

const componentsHeader = `# The components of Sluice %s, written by "sluice bootstrap". Do not edit: patch them from kustomization.yaml.
`

// Components returns gotk-components.yaml: namespace, definitions, service account, roles, network policy, Service and
// Deployment, as a YAML stream. Equal options give equal bytes.
func Components(o Options) ([]byte, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, componentsHeader, o.Version)
	for _, part := range []string{"namespace.yaml", "", "rbac.yaml", "network.yaml", "deployment.yaml"} {
		if part == "" {
			if err := writeDefinitions(&out, o); err != nil {
				return nil, err
			}
			continue
		}
		if err := writeManifest(&out, part, o); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// writeDefinitions appends the CRDs with the labels that `flux check` and `flux uninstall` select by.
func writeDefinitions(out *bytes.Buffer, o Options) error {
	for _, def := range crds.All() {
		if o.FluxSources && def.Spec.Group == sourceGroup {
			continue // source-controller's definitions are of its own version
		}
		def.Labels = map[string]string{
			"app.kubernetes.io/instance": o.Namespace,
			"app.kubernetes.io/part-of":  "flux",
			"app.kubernetes.io/version":  o.VersionLabel(),
		}
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(def)
		if err != nil {
			return fmt.Errorf("%s: %w", def.Name, err)
		}
		delete(m, "status")
		delete(m["metadata"].(map[string]any), "creationTimestamp")
		text, err := yaml.Marshal(m)
		if err != nil {
			return fmt.Errorf("%s: %w", def.Name, err)
		}
		out.WriteString("---\n")
		out.Write(text)
	}
	return nil
}
