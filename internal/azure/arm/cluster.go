package arm

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/sluice-gitops/sluice/internal/fault"
)

const clustersVersion = "2025-05-01"

// UserKubeconfigs returns the kubeconfigs that AKS gives the users of a managed cluster: where its API server is and whom
// to trust, without a credential. The caller needs the role "Azure Kubernetes Service Cluster User Role". A cluster
// without Entra ID integration is refused, because its API server takes no Entra token.
func (c *Client) UserKubeconfigs(ctx context.Context, group, name string) ([][]byte, error) {
	object := "managed cluster " + name
	var cluster struct {
		Properties struct {
			AAD *struct{} `json:"aadProfile"`
		} `json:"properties"`
	}
	if err := c.cluster(ctx, http.MethodGet, group, name, "", &cluster); err != nil {
		return nil, explain(err, object)
	}
	if cluster.Properties.AAD == nil {
		return nil, &fault.Fault{
			Code: "SLU-ARM-020", Hop: fault.HopARM, Object: object, Seen: "it takes no token of Entra ID", Why: "Entra ID integration is off",
			Fix: "az aks update --resource-group " + group + " --name " + name + " --enable-aad",
		}
	}
	var given struct {
		Kubeconfigs []struct {
			Value []byte `json:"value"`
		} `json:"kubeconfigs"`
	}
	if err := c.cluster(ctx, http.MethodPost, group, name, "/listClusterUserCredential", &given); err != nil {
		return nil, explain(err, object)
	}
	texts := make([][]byte, len(given.Kubeconfigs))
	for i := range texts {
		texts[i] = given.Kubeconfigs[i].Value
	}
	return texts, nil
}

func (c *Client) cluster(ctx context.Context, method, group, name, action string, out any) error {
	req, err := runtime.NewRequest(ctx, method, runtime.JoinPaths(c.rest.Endpoint(), "/subscriptions/", c.subscription,
		"/resourceGroups/", group, "/providers/Microsoft.ContainerService/managedClusters/", name+action))
	if err != nil {
		return err
	}
	q := req.Raw().URL.Query()
	q.Set("api-version", clustersVersion)
	req.Raw().URL.RawQuery = q.Encode()
	req.Raw().Header.Set("Accept", "application/json")
	res, err := c.rest.Pipeline().Do(req)
	if err != nil {
		return err
	}
	defer runtime.Drain(res)
	if !runtime.HasStatusCode(res, http.StatusOK) {
		return runtime.NewResponseError(res)
	}
	return runtime.UnmarshalAsJSON(res, out)
}
