package keyvault

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// KeyID names a key: https://<vault host>/keys/<name>[/<version>]. An empty version means the current one.
type KeyID struct {
	Vault   string // https URL without path or trailing slash
	Name    string
	Version string
}

// Names and versions as Key Vault has them (about-keys-secrets-certificates.md).
var (
	keyName    = lazyregexp.New(`^[0-9a-zA-Z-]{1,127}$`)
	keyVersion = lazyregexp.New(`^[0-9a-zA-Z]{1,64}$`)
)

// ParseKeyID reads a key URL as sops's --azure-kv takes it. Its error is a fault of hop "usage".
func ParseKeyID(s string) (KeyID, error) {
	u, err := url.Parse(strings.TrimSpace(s))
	if err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" {
		seg := strings.Split(strings.Trim(u.Path, "/"), "/")
		if (len(seg) == 2 || len(seg) == 3) && seg[0] == "keys" {
			id := KeyID{Vault: "https://" + u.Host, Name: seg[1]}
			if len(seg) == 3 {
				id.Version = seg[2]
			}
			if keyName.MatchString(id.Name) && (id.Version == "" || keyVersion.MatchString(id.Version)) {
				return id, nil
			}
		}
	}
	return KeyID{}, &fault.Fault{
		Code: "SLU-USAGE-020", Hop: fault.HopUsage,
		Seen: fmt.Sprintf("%q is not the URL of a Key Vault key", s),
		Why:  "it must read https://<vault>.vault.azure.net/keys/<key>[/<version>]",
		Fix:  "az keyvault key show --vault-name <vault> -n <key> --query key.kid -o tsv",
	}
}

// String gives the key's URL.
func (id KeyID) String() string {
	s := id.Vault + "/keys/" + id.Name
	if id.Version != "" {
		s += "/" + id.Version
	}
	return s
}

// VaultName is the vault's name, the first label of its host.
func (id KeyID) VaultName() string {
	name, _, _ := strings.Cut(strings.TrimPrefix(id.Vault, "https://"), ".")
	return name
}

// cloud is the one in whose domain the vault lies; the zero value for any other domain.
func (id KeyID) cloud() cloud.Cloud {
	c, _ := cloud.OfVault(id.Vault)
	return c
}

// host is the vault's host name with its port, if any.
func (id KeyID) host() string { return strings.TrimPrefix(id.Vault, "https://") }

// check refuses ids that do not name a key of a vault under one of the suffixes. The id comes from a document.
func (id KeyID) check(suffixes []string) error {
	u, err := url.Parse(id.Vault)
	ok := err == nil && u.Scheme == "https" && u.User == nil && u.RawQuery == "" && u.Fragment == "" &&
		(u.Path == "" || u.Path == "/") && keyName.MatchString(id.Name) &&
		(id.Version == "" || keyVersion.MatchString(id.Version))
	if ok {
		for _, s := range suffixes {
			if label, found := strings.CutSuffix(strings.ToLower(u.Host), s); found && label != "" && !strings.Contains(label, "/") {
				return nil
			}
		}
	}
	return &fault.Fault{
		Code: "SLU-VAULT-001", Hop: fault.HopVault,
		Seen: fmt.Sprintf("the document names the key %.200q, which is not a key of an Azure Key Vault", id.String()),
		Why:  "only hosts under " + strings.Join(suffixes, ", ") + " are called",
		Fix:  "correct vault_url, name and version in the document's sops.azure_kv entry, or seal the file again with `sops rotate`",
	}
}
