package arm

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// Key is a key in a vault, as Resource Manager shows it: no part of the key itself.
type Key struct {
	Name    string `json:"name"`
	URL     string `json:"url"` // with the current version: what sops's --azure-kv takes
	Type    string `json:"type"`
	Enabled bool   `json:"enabled"`
}

// Key reads a key through Resource Manager, which needs no permission in the vault; nil when there is none.
func (c *Client) Key(ctx context.Context, group, vault, name string) (*Key, error) {
	got, err := c.keys.Get(ctx, group, vault, name, nil)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err, "key "+name+" of key vault "+vault)
	}
	return ref(keyOf(got.Key)), nil
}

// Keys lists a vault's keys. The list has no versions, so its URLs have none either.
func (c *Client) Keys(ctx context.Context, group, vault string) ([]Key, error) {
	var all []Key
	for pager := c.keys.NewListPager(group, vault, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, explain(err, "keys of key vault "+vault)
		}
		for _, k := range page.Value {
			if k != nil {
				all = append(all, keyOf(*k))
			}
		}
	}
	return all, nil
}

// EnsureKey makes an RSA key for encrypting and decrypting, of bits 2048, 3072 or 4096, unless the vault has one of
// that name; an existing key's size is left as it is. A deleted key of the name is recovered, which needs the vault's
// permission keys/recover; making one needs none in the vault. The returned id has the current version.
func (c *Client) EnsureKey(ctx context.Context, group, vault, name string, bits int32) (id keyvault.KeyID, changed bool, err error) {
	k, changed, err := c.ensureKey(ctx, group, vault, name, bits)
	if err == nil {
		id, err = keyvault.ParseKeyID(k.URL)
	}
	return id, changed, err
}

func (c *Client) ensureKey(ctx context.Context, group, vault, name string, bits int32) (k Key, changed bool, err error) {
	have, err := c.Key(ctx, group, vault, name)
	if have != nil || err != nil {
		return deref(have), false, err
	}
	made, err := c.keys.CreateIfNotExist(ctx, group, vault, name, keyParameters(bits), nil)
	var r *azcore.ResponseError
	if errors.As(err, &r) && r.StatusCode == http.StatusConflict {
		return c.recoverKey(ctx, group, vault, name)
	}
	if err != nil {
		return Key{}, false, explain(err, "key "+name+" of key vault "+vault)
	}
	return keyOf(made.Key), true, nil
}

func keyParameters(bits int32) armkeyvault.KeyCreateParameters {
	return armkeyvault.KeyCreateParameters{Properties: &armkeyvault.KeyProperties{
		Kty: ref(armkeyvault.JSONWebKeyTypeRSA), KeySize: &bits,
		KeyOps:     []*armkeyvault.JSONWebKeyOperation{ref(armkeyvault.JSONWebKeyOperationEncrypt), ref(armkeyvault.JSONWebKeyOperationDecrypt)},
		Attributes: &armkeyvault.KeyAttributes{Enabled: ref(true), Exportable: ref(false)},
	}}
}

// DeletedKey says whether the vault keeps a deleted key of that name. Who may not ask is told no.
func (c *Client) DeletedKey(ctx context.Context, vaultURL, name string) bool {
	keys, err := azkeys.NewClient(vaultURL, c.cred, &azkeys.ClientOptions{ClientOptions: c.options})
	if err != nil {
		return false
	}
	_, err = keys.GetDeletedKey(ctx, name, nil)
	return err == nil
}

// recoverKey brings a deleted key back and waits until Resource Manager knows it. Key Vault's 404 and 409 say that
// somebody else has just begun the same.
func (c *Client) recoverKey(ctx context.Context, group, vault, name string) (k Key, changed bool, err error) {
	v, err := c.Vault(ctx, group, vault)
	if err != nil {
		return Key{}, false, err
	}
	keys, err := azkeys.NewClient(deref(v).URL, c.cred, &azkeys.ClientOptions{ClientOptions: c.options})
	if err != nil {
		return Key{}, false, err
	}
	_, err = keys.RecoverDeletedKey(ctx, name, nil)
	var r *azcore.ResponseError
	if err != nil && (!errors.As(err, &r) || r.StatusCode != http.StatusNotFound && r.StatusCode != http.StatusConflict) {
		return Key{}, false, deletedKey(err, vault, name)
	}
	changed = err == nil
	pause := firstPause
	for began := time.Now(); time.Since(began) < patience; pause = min(2*pause, longPause) {
		have, err := c.Key(ctx, group, vault, name)
		if have != nil || err != nil {
			return deref(have), changed, err
		}
		if err := wait(ctx, pause); err != nil {
			return Key{}, changed, explain(err, "key "+name)
		}
	}
	return Key{}, changed, &fault.Fault{
		Code: "SLU-ARM-034", Hop: fault.HopARM, Object: "key " + name + " of key vault " + vault, Seen: "a deleted key keeps the name, and has not come back in two minutes",
		Why: "Key Vault is still recovering it, or it was purged meanwhile",
		Fix: "az keyvault key show-deleted --vault-name " + vault + " -n " + name + ", and run it again",
	}
}

func deletedKey(err error, vault, name string) error {
	var r *azcore.ResponseError
	if !errors.As(err, &r) || r.StatusCode != http.StatusForbidden {
		return explain(err, "key "+name+" of key vault "+vault)
	}
	return &fault.Fault{
		Code: "SLU-ARM-028", Hop: fault.HopARM, Object: "key " + name + " of key vault " + vault, Err: &Refused{Status: r.StatusCode, Code: codeOf(err)},
		Seen: "a deleted key keeps the name, and you may not recover it",
		Why:  "the vault gives you no permission keys/recover",
		Fix: "az keyvault set-policy -n " + vault + " --object-id $(az ad signed-in-user show --query id -o tsv) --key-permissions get list encrypt decrypt recover && " +
			"az keyvault key recover --vault-name " + vault + " -n " + name,
	}
}

func keyOf(k armkeyvault.Key) Key {
	p := deref(k.Properties)
	url := deref(p.KeyURIWithVersion)
	if url == "" {
		url = deref(p.KeyURI)
	}
	return Key{Name: deref(k.Name), URL: url, Type: string(deref(p.Kty)), Enabled: deref(deref(p.Attributes).Enabled)}
}
