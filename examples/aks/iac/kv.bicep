// The vault and the key that the repository's secrets are sealed for. The key never leaves the vault.

@description('Name of the vault: 3 to 24 letters, digits and hyphens, unique in all of Azure.')
@minLength(3)
@maxLength(24)
param name string

@description('Region of the vault.')
param location string

@description('Name of the key.')
param keyName string = 'encryption-key'

@description('Principal id of the controller\'s identity: it may read the key and decrypt.')
param controllerPrincipalId string

@description('Object id of the person or group that seals secrets: may read the key, encrypt and decrypt. None if empty.')
param developerObjectId string = ''

@description('Keeps a deleted vault and its keys from being purged before their retention ends. Cannot be taken back.')
param enablePurgeProtection bool = true

@description('Days for which a deleted vault or key can be recovered. Cannot be changed later.')
@minValue(7)
@maxValue(90)
param softDeleteRetentionInDays int = 90

var controllerPolicy = {
  tenantId: tenant().tenantId
  objectId: controllerPrincipalId
  permissions: {
    keys: [
      'get'
      'decrypt'
    ]
  }
}

var developerPolicies = empty(developerObjectId) ? [] : [
  {
    tenantId: tenant().tenantId
    objectId: developerObjectId
    permissions: {
      keys: [
        'get'
        'list'
        'encrypt'
        'decrypt'
      ]
    }
  }
]

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: name
  location: location
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    // Said outright: newer API versions turn it on when it is left out, and access policies are then ignored.
    enableRbacAuthorization: false
    accessPolicies: concat([ controllerPolicy ], developerPolicies)
    enableSoftDelete: true
    softDeleteRetentionInDays: softDeleteRetentionInDays
    // Azure takes true or nothing here.
    enablePurgeProtection: enablePurgeProtection ? true : null
    enabledForDeployment: false
    enabledForDiskEncryption: false
    enabledForTemplateDeployment: false
    publicNetworkAccess: 'Enabled'
  }
}

resource key 'Microsoft.KeyVault/vaults/keys@2024-11-01' = {
  parent: vault
  name: keyName
  properties: {
    kty: 'RSA'
    keySize: 3072
    keyOps: [
      'encrypt'
      'decrypt'
    ]
    attributes: {
      enabled: true
      exportable: false
    }
  }
}

@description('Name of the vault.')
output vaultName string = vault.name

@description('For sops --azure-kv: the key with its version.')
output keyUrl string = key.properties.keyUriWithVersion
