// Package aks is the sample: a repository for one AKS cluster that decrypts its secrets with Azure Key Vault and
// workload identity. gitops/ is what the cluster follows, iac/ the Azure resources in Bicep.
//
// The package embeds gitops/ for `sluice up` and for tests. It seals nothing and fills in no ids: SecretPath is clear
// text here, the service account's patch holds placeholders, and whoever makes a repository of the sample does both.
package aks

import (
	"embed"
	"fmt"
	"io/fs"

	"sigs.k8s.io/yaml"
)

// Paths inside the sample, from the repository's root.
const (
	ClusterPath = "gitops/aks"                  // what the cluster's sync points at
	SecretPath  = "gitops/aks/apps/secret.yaml" // to be sealed before the first commit
)

// What the sample puts into the cluster.
const (
	SecretNamespace = "sops-workload-identity"
	SecretName      = "sample-secret"
	SecretKey       = "sops_encrypted_secret"
)

//go:embed all:gitops
var files embed.FS

// Files returns the sample repository, from its root.
func Files() fs.FS { return files }

// SecretValue returns the clear text that SecretPath holds, and that a working cluster shows.
func SecretValue() (string, error) {
	data, err := files.ReadFile(SecretPath)
	if err != nil {
		return "", err
	}
	var secret struct {
		StringData map[string]string `json:"stringData"`
	}
	if err := yaml.Unmarshal(data, &secret); err != nil {
		return "", fmt.Errorf("%s: %w", SecretPath, err)
	}
	value, ok := secret.StringData[SecretKey]
	if !ok {
		return "", fmt.Errorf("%s: no %s", SecretPath, SecretKey)
	}
	return value, nil
}
