package recipient

import (
	"errors"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// HCVault is a key of the transit engine of HashiCorp Vault or OpenBao.
type HCVault struct {
	VaultAddress, EnginePath, KeyName string
	CreationDate                      time.Time
	EncryptedKey                      string // as the document stores it
}

// ErrHCVault says that a text is no transit key's URI.
var ErrHCVault = errors.New("a key of Vault's transit engine is not written https://HOST/v1/ENGINE/keys/NAME")

var (
	transitPath  = lazyregexp.New(`/v[\d]+/[^/]+/[^/]+/[^/]+`)
	prefixedPath = lazyregexp.New(`/[^/]+/v[\d]+/[^/]+/[^/]+/[^/]+`) // behind a proxy's prefix, which Vault's own client refuses
)

// ParseHCVault reads a key's URI.
func ParseHCVault(uri string) (*HCVault, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" {
		return nil, ErrHCVault
	}
	full := u.RequestURI()
	if prefixedPath.MatchString(full) || !transitPath.MatchString(full) {
		return nil, ErrHCVault
	}
	dirs := strings.Split(strings.Trim(full, "/"), "/")
	u.Path = ""
	return &HCVault{
		VaultAddress: u.String(), EnginePath: path.Join(dirs[1 : len(dirs)-2]...), KeyName: dirs[len(dirs)-1], CreationDate: now(),
	}, nil
}

func (k *HCVault) Kind() string          { return "hc_vault" }
func (k *HCVault) Wrapped() []byte       { return []byte(k.EncryptedKey) }
func (k *HCVault) SetWrapped(enc []byte) { k.EncryptedKey = string(enc) }
func (k *HCVault) String() string {
	return k.VaultAddress + "/v1/" + k.EnginePath + "/keys/" + k.KeyName
}

// HuaweiKMS is a key of Huawei Cloud's KMS, which Sluice carries along and refuses to use.
type HuaweiKMS struct {
	KeyID        string // REGION:ID
	CreationDate time.Time
	EncryptedKey string // as the document stores it
}

// ErrHuaweiKMS says that a text is no key's id.
var ErrHuaweiKMS = errors.New("a key of hckms is not written region:id")

// ParseHuaweiKMS reads a key's id.
func ParseHuaweiKMS(id string) (*HuaweiKMS, error) {
	region, key, ok := strings.Cut(strings.TrimSpace(id), ":")
	if !ok || strings.TrimSpace(region) == "" || strings.TrimSpace(key) == "" {
		return nil, ErrHuaweiKMS
	}
	return &HuaweiKMS{KeyID: id, CreationDate: now()}, nil
}

func (k *HuaweiKMS) Kind() string          { return "hckms" }
func (k *HuaweiKMS) Wrapped() []byte       { return []byte(k.EncryptedKey) }
func (k *HuaweiKMS) SetWrapped(enc []byte) { k.EncryptedKey = string(enc) }
func (k *HuaweiKMS) String() string        { return k.KeyID }
