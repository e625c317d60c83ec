package bootstrap

import (
	"bytes"
	"errors"
	"fmt"

	"sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// Placeholders stand in a sample's patches until bootstrap, or a person, puts the identity's own ids in.
const (
	PlaceholderClientID = "REPLACE-WITH-THE-CLIENT-ID"
	PlaceholderTenantID = "REPLACE-WITH-THE-TENANT-ID"
)

// The patch files, relative to the flux-system folder.
const (
	DeploymentPatch     = "patches/kustomize-controller-deployment.yaml"
	ServiceAccountPatch = "patches/kustomize-controller-service-account.yaml"
)

// patchPaths is in the order in which kustomization.yaml lists them.
var patchPaths = []string{DeploymentPatch, ServiceAccountPatch}

// Identity is the Azure identity that the controller signs in as.
type Identity struct {
	ClientID string // of the user-assigned identity, or of the application
	TenantID string // the tenant's id: Key Vault compares it with its own, letter by letter
	Replace  bool   // also the ids that a user filled in; otherwise only placeholders give way
}

// azureID is a GUID. A tenant's domain name would do for Entra ID, but fails at Key Vault's challenge.
var azureID = lazyregexp.New(`^([0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|` + PlaceholderClientID + `|` + PlaceholderTenantID + `)$`)

const deploymentPatch = `# The pod label makes AKS's workload identity webhook give the controller its token and its AZURE_* environment.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: kustomize-controller
  namespace: %s
spec:
  template:
    metadata:
      labels:
        azure.workload.identity/use: "true"
`

const serviceAccountPatch = `# Which identity the service account's tokens are exchanged for: clientId and tenantId as "az identity list" shows them.
apiVersion: v1
kind: ServiceAccount
metadata:
  name: kustomize-controller
  namespace: %s
  annotations:
    azure.workload.identity/client-id: %s
    azure.workload.identity/tenant-id: %s
  labels:
    azure.workload.identity/use: "true"
`

const (
	clientIDAnnotation = "azure.workload.identity/client-id"
	tenantIDAnnotation = "azure.workload.identity/tenant-id"
)

// WorkloadIdentityPatches returns the two patches that switch on Azure workload identity, by their path relative to the
// flux-system folder. An empty namespace is DefaultNamespace.
func WorkloadIdentityPatches(namespace, clientID, tenantID string) (map[string][]byte, error) {
	if namespace == "" {
		namespace = DefaultNamespace
	}
	for what, id := range map[string]string{"client id": clientID, "tenant id": tenantID} {
		if !azureID.MatchString(id) {
			return nil, fmt.Errorf("%s %q is not a GUID", what, id)
		}
	}
	return map[string][]byte{
		DeploymentPatch:     fmt.Appendf(nil, deploymentPatch, namespace),
		ServiceAccountPatch: fmt.Appendf(nil, serviceAccountPatch, namespace, clientID, tenantID),
	}, nil
}

// holdsPlaceholder tells a patch that nobody filled in yet.
func holdsPlaceholder(patch []byte) bool {
	return bytes.Contains(patch, []byte(PlaceholderClientID)) || bytes.Contains(patch, []byte(PlaceholderTenantID))
}

// annotate puts the identity's ids into an existing ServiceAccount patch, and leaves all else in it alone.
func (id Identity) annotate(patch []byte) ([]byte, error) {
	root, err := yaml.Parse(string(patch))
	if err != nil {
		return nil, err
	}
	if root.GetKind() != "ServiceAccount" {
		return nil, errors.New("not a patch for a ServiceAccount")
	}
	err = root.PipeE(
		yaml.Tee(yaml.SetAnnotation(clientIDAnnotation, id.ClientID)),
		yaml.SetAnnotation(tenantIDAnnotation, id.TenantID),
	)
	if err != nil {
		return nil, err
	}
	text, err := root.String()
	return []byte(text), err
}
