package testkit

import (
	"strings"
	"testing"
)

// sourceCRD is as much of another controller's definition as a test needs.
const sourceCRD = `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: KIND_PLURAL.source.toolkit.fluxcd.io}
spec:
  group: source.toolkit.fluxcd.io
  names: {kind: KIND_NAME, listKind: KIND_NAMEList, plural: KIND_PLURAL, singular: KIND_SINGULAR}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// InstallSourceKind has the shared API server serve one of the kinds of sources that Sluice only reads, such as
// OCIRepository, ocirepositories, without a schema.
func InstallSourceKind(t *testing.T, kind, plural string) {
	t.Helper()
	text := strings.NewReplacer("KIND_NAME", kind, "KIND_PLURAL", plural, "KIND_SINGULAR", strings.ToLower(kind)).Replace(sourceCRD)
	InstallCRDs(t, Cluster(t), []byte(text))
}
