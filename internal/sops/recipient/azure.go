package recipient

import (
	"errors"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// AzureKV is a key of Azure Key Vault. Version is empty until it is known which one wrapped the data key.
type AzureKV struct {
	VaultURL, Name, Version string
	CreationDate            time.Time
	EncryptedKey            string // as the document stores it
}

// NewAzureKV names a key as of now.
func NewAzureKV(vaultURL, name, version string) *AzureKV {
	return &AzureKV{VaultURL: vaultURL, Name: name, Version: version, CreationDate: now()}
}

// ErrAzureKV says that a text is no key's URL.
var ErrAzureKV = errors.New("a Key Vault key is not written https://VAULT.vault.azure.net/keys/NAME/VERSION")

var azureURL = lazyregexp.New(`^(https://[^/]+)/keys/([^/]+)(?:/([^/]*))?$`)

// ParseAzureKV reads a key's URL. sops asks the vault for the newest version of a key that is named without one; here the
// version stays empty, and whoever wraps fills it in.
func ParseAzureKV(url string) (*AzureKV, error) {
	m := azureURL.FindStringSubmatch(strings.TrimSpace(url))
	if m == nil {
		return nil, ErrAzureKV
	}
	return NewAzureKV(m[1], m[2], m[3]), nil
}

func (k *AzureKV) Kind() string          { return "azure_kv" }
func (k *AzureKV) Wrapped() []byte       { return []byte(k.EncryptedKey) }
func (k *AzureKV) SetWrapped(enc []byte) { k.EncryptedKey = string(enc) }
func (k *AzureKV) String() string        { return k.VaultURL + "/keys/" + k.Name + "/" + k.Version }
