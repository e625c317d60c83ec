// The controller's identity, and the credential by which Entra ID takes the controller's service-account token for it.

@description('Name of the identity.')
param name string

@description('Region of the identity.')
param location string

@description('Issuer URL of the cluster, exactly as the cluster gives it.')
param oidcIssuerURL string

@description('Namespace of the controller.')
param namespace string = 'flux-system'

@description('Service account of the controller.')
param serviceAccount string = 'kustomize-controller'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
}

resource credential 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = {
  parent: identity
  name: '${namespace}-${serviceAccount}'
  properties: {
    // All three are compared letter by letter with the token.
    issuer: oidcIssuerURL
    subject: 'system:serviceaccount:${namespace}:${serviceAccount}'
    audiences: [
      'api://AzureADTokenExchange'
    ]
  }
}

@description('For the service account\'s annotation azure.workload.identity/client-id.')
output clientId string = identity.properties.clientId

@description('For the service account\'s annotation azure.workload.identity/tenant-id.')
output tenantId string = identity.properties.tenantId

@description('What the vault\'s access policy names; not the client id.')
output principalId string = identity.properties.principalId
