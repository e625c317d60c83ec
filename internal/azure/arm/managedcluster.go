package arm

import (
	"context"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	aks "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
)

// pollSlowly paces the wait for what takes minutes, where Azure does not ask for another pace.
const pollSlowly = 5 * time.Second

// Cluster is an AKS cluster, as far as the trust chain looks at one.
type Cluster struct {
	ID               string `json:"id"`
	Name             string `json:"name"`
	Location         string `json:"location"`
	State            string `json:"state"`      // Succeeded, Creating, Updating, Deleting, Failed, …
	OIDC             bool   `json:"oidcIssuer"` // its tokens have a public issuer
	Issuer           string `json:"issuerUrl"`  // with its trailing slash; empty until the cluster is made
	WorkloadIdentity bool   `json:"workloadIdentity"`
	Version          string `json:"kubernetesVersion,omitempty"`
}

// Busy says that Azure is changing the cluster now, and refuses other changes.
func (c *Cluster) Busy() bool {
	switch c.State {
	case "Succeeded", "Failed", "Canceled", "":
		return false
	}
	return true
}

// ClusterSpec is what a new cluster is made with. It is what examples/aks/iac/aks.bicep makes.
type ClusterSpec struct {
	Name, Location string
	NodeSize       string // of the system nodes, such as Standard_D2s_v5
	Nodes          int32
}

// Cluster reads an AKS cluster; nil when there is none.
func (c *Client) Cluster(ctx context.Context, group, name string) (*Cluster, error) {
	got, err := c.clusters.Get(ctx, group, name, nil)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err, "managed cluster "+name)
	}
	return clusterOf(got.ManagedCluster), nil
}

// Clusters lists the AKS clusters of a resource group.
func (c *Client) Clusters(ctx context.Context, group string) ([]Cluster, error) {
	var all []Cluster
	for pager := c.clusters.NewListByResourceGroupPager(group, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, explain(err, "clusters of resource group "+group)
		}
		for _, m := range page.Value {
			if m != nil {
				all = append(all, *clusterOf(*m))
			}
		}
	}
	return all, nil
}

// CreateCluster makes an AKS cluster and waits until it is there, which takes five to ten minutes.
func (c *Client) CreateCluster(ctx context.Context, group string, s ClusterSpec) (*Cluster, error) {
	return c.putCluster(ctx, group, s.Name, s.body())
}

func (s ClusterSpec) body() aks.ManagedCluster {
	return aks.ManagedCluster{
		Location: &s.Location,
		SKU:      &aks.ManagedClusterSKU{Name: ref(aks.ManagedClusterSKUNameBase), Tier: ref(aks.ManagedClusterSKUTierFree)},
		Identity: &aks.ManagedClusterIdentity{Type: ref(aks.ResourceIdentityTypeSystemAssigned)},
		Properties: &aks.ManagedClusterProperties{
			DNSPrefix: &s.Name, EnableRBAC: ref(true),
			AgentPoolProfiles: []*aks.ManagedClusterAgentPoolProfile{{
				Name: ref("system"), Mode: ref(aks.AgentPoolModeSystem), Count: &s.Nodes, VMSize: &s.NodeSize,
				OSType: ref(aks.OSTypeLinux), OSSKU: ref(aks.OSSKUAzureLinux), EnableAutoScaling: ref(false),
			}},
			AutoUpgradeProfile: &aks.ManagedClusterAutoUpgradeProfile{
				UpgradeChannel: ref(aks.UpgradeChannelPatch), NodeOSUpgradeChannel: ref(aks.NodeOSUpgradeChannelNodeImage),
			},
			NetworkProfile: &aks.NetworkProfile{
				NetworkPlugin: ref(aks.NetworkPluginAzure), NetworkPluginMode: ref(aks.NetworkPluginModeOverlay),
				NetworkDataplane: ref(aks.NetworkDataplaneCilium), NetworkPolicy: ref(aks.NetworkPolicyCilium),
				LoadBalancerSKU: ref(aks.LoadBalancerSKUStandard),
			},
			OidcIssuerProfile: &aks.ManagedClusterOIDCIssuerProfile{Enabled: ref(true)},
			SecurityProfile:   &aks.ManagedClusterSecurityProfile{WorkloadIdentity: &aks.ManagedClusterSecurityProfileWorkloadIdentity{Enabled: ref(true)}},
		},
	}
}

// FederateCluster turns an existing cluster's OIDC issuer and workload identity on, leaves everything else as it was
// read, and waits. A cluster whose last change failed is put again as it stands.
func (c *Client) FederateCluster(ctx context.Context, group, name string) (*Cluster, error) {
	got, err := c.clusters.Get(ctx, group, name, nil)
	if err != nil {
		return nil, explain(err, "managed cluster "+name)
	}
	m := got.ManagedCluster
	m.Properties = ref(deref(m.Properties))
	m.Properties.OidcIssuerProfile = &aks.ManagedClusterOIDCIssuerProfile{Enabled: ref(true)}
	m.Properties.SecurityProfile = ref(deref(m.Properties.SecurityProfile))
	m.Properties.SecurityProfile.WorkloadIdentity = &aks.ManagedClusterSecurityProfileWorkloadIdentity{Enabled: ref(true)}
	return c.putCluster(ctx, group, name, m)
}

func (c *Client) putCluster(ctx context.Context, group, name string, m aks.ManagedCluster) (*Cluster, error) {
	poller, err := c.clusters.BeginCreateOrUpdate(ctx, group, name, m, nil)
	if code := codeOf(err); code == "OperationNotAllowed" || code == "OperationPreempted" {
		// Somebody else was first; what they make is looked at afterwards.
		if got, waited := c.AwaitCluster(ctx, group, name); got != nil || waited != nil {
			return got, waited
		}
	}
	if err == nil {
		_, err = poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: pollSlowly})
	}
	if err != nil {
		return nil, explain(err, "managed cluster "+name)
	}
	return c.Cluster(ctx, group, name)
}

// AwaitCluster waits until Azure is done with a change of the cluster that somebody else began; nil when the cluster is
// gone then.
func (c *Client) AwaitCluster(ctx context.Context, group, name string) (*Cluster, error) {
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		got, err := c.Cluster(ctx, group, name)
		if err != nil || got == nil || !got.Busy() {
			return got, err
		}
		if err := wait(ctx, pause); err != nil {
			return nil, explain(err, "managed cluster "+name)
		}
	}
}

func clusterOf(m aks.ManagedCluster) *Cluster {
	p := deref(m.Properties)
	return &Cluster{
		ID: deref(m.ID), Name: deref(m.Name), Location: deref(m.Location), State: deref(p.ProvisioningState),
		OIDC: deref(deref(p.OidcIssuerProfile).Enabled), Issuer: deref(deref(p.OidcIssuerProfile).IssuerURL),
		WorkloadIdentity: deref(deref(deref(p.SecurityProfile).WorkloadIdentity).Enabled),
		Version:          deref(p.CurrentKubernetesVersion),
	}
}
