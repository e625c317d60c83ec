// The cluster, with its OIDC issuer and workload identity on. Local accounts go off once Entra groups administer it.

@description('Name of the cluster.')
param name string

@description('Region of the cluster.')
param location string

@description('Kubernetes version; empty takes the newest that AKS offers as its default.')
param kubernetesVersion string = ''

@description('Size of the system nodes.')
param vmSize string = 'Standard_D2s_v5'

@description('Number of system nodes.')
@minValue(1)
param nodeCount int = 2

@description('Object ids of the Entra groups that administer the cluster. With none, local accounts stay on.')
param adminGroupObjectIds array = []

@description('Address ranges that may reach the API server; none leaves it open to all.')
param authorizedIPRanges array = []

var entra = !empty(adminGroupObjectIds)

resource cluster 'Microsoft.ContainerService/managedClusters@2025-02-01' = {
  name: name
  location: location
  sku: {
    name: 'Base'
    tier: 'Free'
  }
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    kubernetesVersion: empty(kubernetesVersion) ? null : kubernetesVersion
    dnsPrefix: name
    enableRBAC: true
    disableLocalAccounts: entra
    aadProfile: entra ? {
      managed: true
      enableAzureRBAC: false
      adminGroupObjectIDs: adminGroupObjectIds
    } : null
    agentPoolProfiles: [
      {
        name: 'system'
        mode: 'System'
        count: nodeCount
        vmSize: vmSize
        osType: 'Linux'
        osSKU: 'AzureLinux'
        enableAutoScaling: false
      }
    ]
    apiServerAccessProfile: empty(authorizedIPRanges) ? null : {
      authorizedIPRanges: authorizedIPRanges
    }
    autoUpgradeProfile: {
      upgradeChannel: 'patch'
      nodeOSUpgradeChannel: 'NodeImage'
    }
    networkProfile: {
      networkPlugin: 'azure'
      networkPluginMode: 'overlay'
      networkDataplane: 'cilium'
      networkPolicy: 'cilium'
      loadBalancerSku: 'standard'
    }
    // Signs the service accounts' tokens under a public issuer, which the federated credential names.
    oidcIssuerProfile: {
      enabled: true
    }
    // Runs the webhook that gives labelled pods their token and AZURE_* environment.
    securityProfile: {
      workloadIdentity: {
        enabled: true
      }
    }
  }
}

@description('Name of the cluster, for az aks get-credentials.')
output clusterName string = cluster.name

@description('Issuer of the cluster\'s tokens. Its trailing slash counts.')
output oidcIssuerURL string = cluster.properties.oidcIssuerProfile.issuerURL
