package arm

import (
	"encoding/base64"
	"fmt"
)

// Endpoint is where the local cluster's API server is.
type Endpoint struct {
	Server string // https URL
	CA     []byte // PEM
}

// SetEndpoint says where the API server of every managed cluster is. Before, none can be asked for its kubeconfig.
func (s *Service) SetEndpoint(e Endpoint) { s.endpoint.Store(&e) }

// listClusterUserCredential gives the kubeconfig of a cluster with Entra ID integration, which holds no credential: its
// user signs in by a program, for the application that all AKS API servers are.
func (s *Service) listClusterUserCredential(r *request) (answer, error) {
	c, err := r.cluster(r.state)
	if err != nil {
		return answer{}, err
	}
	at := s.endpoint.Load()
	if at == nil {
		return answer{}, fail(409, "OperationNotAllowed", "The cluster '%s' is not running.", c.Name)
	}
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: %[1]s, cluster: {server: "%[2]s", certificate-authority-data: %[3]s}}]
contexts: [{name: %[1]s, context: {cluster: %[1]s, user: clusterUser}}]
current-context: %[1]s
users:
- name: clusterUser
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      command: kubelogin
      args: [get-token, --server-id, 6dae42f8-4368-4678-94ff-3960e28e3630, --tenant-id, %[4]s, --environment, AzurePublicCloud, --login, devicecode]
      provideClusterInfo: false
`, c.Name, at.Server, base64.StdEncoding.EncodeToString(at.CA), r.state.Tenant)
	return ok(map[string]any{"kubeconfigs": []any{map[string]string{"name": "clusterUser", "value": base64.StdEncoding.EncodeToString([]byte(text))}}})
}
