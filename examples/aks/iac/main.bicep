// Everything the sample needs in one resource group:
//   az group create -n GROUP -l westeurope
//   az deployment group create -g GROUP -f main.bicep -p developerObjectId=$(az ad signed-in-user show --query id -o tsv)

targetScope = 'resourceGroup'

@description('Region of everything.')
param location string = resourceGroup().location

@description('Name of the cluster.')
param clusterName string = 'sluice-aks'

@description('Name of the controller\'s identity.')
param identityName string = 'kustomize-controller-mi'

@description('Name of the vault.')
param vaultName string = 'kv-${uniqueString(resourceGroup().id)}'

@description('Name of the key.')
param keyName string = 'encryption-key'

@description('Object id of the person or group that seals secrets. None if empty.')
param developerObjectId string = ''

@description('Keeps a deleted vault from being purged early. Cannot be taken back: false only for trying things out.')
param enablePurgeProtection bool = true

module aks 'aks.bicep' = {
  name: 'aks'
  params: {
    name: clusterName
    location: location
  }
}

module mi 'mi.bicep' = {
  name: 'mi'
  params: {
    name: identityName
    location: location
    oidcIssuerURL: aks.outputs.oidcIssuerURL
  }
}

module kv 'kv.bicep' = {
  name: 'kv'
  params: {
    name: vaultName
    location: location
    keyName: keyName
    controllerPrincipalId: mi.outputs.principalId
    developerObjectId: developerObjectId
    enablePurgeProtection: enablePurgeProtection
  }
}

@description('For az aks get-credentials.')
output clusterName string = aks.outputs.clusterName

@description('Issuer of the cluster\'s tokens.')
output oidcIssuerURL string = aks.outputs.oidcIssuerURL

@description('For patches/kustomize-controller-service-account.yaml.')
output clientId string = mi.outputs.clientId

@description('For patches/kustomize-controller-service-account.yaml.')
output tenantId string = mi.outputs.tenantId

@description('For sops --azure-kv.')
output keyUrl string = kv.outputs.keyUrl
