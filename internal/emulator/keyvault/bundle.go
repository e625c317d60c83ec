package keyvault

import (
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
)

// The wire shapes of key objects: api-version 2025-07-01, and the older ones alike. Times are Unix seconds.

type keyBundle struct {
	Key        jsonWebKey        `json:"key"`
	Attributes attributes        `json:"attributes"`
	Tags       map[string]string `json:"tags,omitempty"`
	*deletion
}

type deletion struct {
	RecoveryID    string `json:"recoveryId"`
	Deleted       int64  `json:"deletedDate"`
	PurgeSchedule int64  `json:"scheduledPurgeDate"`
}

type jsonWebKey struct {
	Kid string   `json:"kid,omitempty"`
	Kty string   `json:"kty"`
	Ops []string `json:"key_ops,omitempty"`
	N   string   `json:"n"`
	E   string   `json:"e"`
}

type attributes struct {
	Enabled         bool   `json:"enabled"`
	NotBefore       *int64 `json:"nbf,omitempty"`
	Expires         *int64 `json:"exp,omitempty"`
	Created         int64  `json:"created"`
	Updated         int64  `json:"updated"`
	RecoveryLevel   string `json:"recoveryLevel"`
	RecoverableDays int    `json:"recoverableDays"`
}

type keyItem struct {
	Kid        string            `json:"kid"`
	Attributes attributes        `json:"attributes"`
	Tags       map[string]string `json:"tags,omitempty"`
	*deletion
}

func vaultURL(v *store.Vault) string { return "https://" + store.Fold(v.Name) + "." + Domain }

func keyURL(v *store.Vault, k *store.Key) string { return vaultURL(v) + "/keys/" + k.Name }

func attributesOf(v *store.Vault, version *store.KeyVersion) attributes {
	level := "Recoverable"
	if v.RetentionDays < 90 {
		level = "CustomizedRecoverable"
	}
	if !v.PurgeProtection {
		level += "+Purgeable"
	}
	return attributes{
		Enabled: version.Enabled, NotBefore: version.NotBefore, Expires: version.Expires,
		Created: version.Created, Updated: version.Updated, RecoveryLevel: level, RecoverableDays: v.RetentionDays,
	}
}

func bundleOf(v *store.Vault, k *store.Key, version *store.KeyVersion) keyBundle {
	return keyBundle{
		Key: jsonWebKey{
			Kid: keyURL(v, k) + "/" + version.ID, Kty: version.Type, Ops: version.Ops, N: version.N, E: version.E,
		},
		Attributes: attributesOf(v, version), Tags: version.Tags, deletion: deletionOf(v, k),
	}
}

func itemOf(v *store.Vault, k *store.Key, kid string, version *store.KeyVersion) keyItem {
	return keyItem{Kid: kid, Attributes: attributesOf(v, version), Tags: version.Tags, deletion: deletionOf(v, k)}
}

func deletionOf(v *store.Vault, k *store.Key) *deletion {
	if k.Deleted == nil {
		return nil
	}
	return &deletion{
		RecoveryID: vaultURL(v) + "/deletedkeys/" + k.Name,
		Deleted:    k.Deleted.Unix(), PurgeSchedule: k.Deleted.Add(time.Duration(v.RetentionDays) * 24 * time.Hour).Unix(),
	}
}
