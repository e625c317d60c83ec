package secrets

import (
	"fmt"
	"slices"
	"strings"

	getsops "github.com/getsops/sops/v3"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/kms"
	"github.com/getsops/sops/v3/pgp"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Recipients are recipients as flags and environment variables name them: each field a list with commas.
type Recipients struct {
	KMS, GCPKMS, AzureKV, HCVaultTransit, PGP, Age string

	EncryptionContext string // of AWS KMS: name:value,name:value
	AWSProfile        string
}

// Empty says that nobody is named.
func (r Recipients) Empty() bool {
	return r.KMS+r.GCPKMS+r.AzureKV+r.HCVaultTransit+r.PGP+r.Age == ""
}

// Keys parses the lists, in the order in which sops writes them into a document.
func (r Recipients) Keys() (getsops.KeyGroup, error) {
	var g getsops.KeyGroup
	context := kms.ParseKMSContext(r.EncryptionContext)
	if r.EncryptionContext != "" && context == nil {
		return nil, &fault.Fault{Code: "SLU-USAGE-031", Hop: fault.HopUsage, Seen: "--encryption-context cannot be read",
			Fix: "write it as name:value,name:value", Exit: 6}
	}
	if r.KMS != "" {
		for _, k := range kms.MasterKeysFromArnString(r.KMS, context, r.AWSProfile) {
			g = append(g, k)
		}
	}
	if r.GCPKMS != "" {
		for _, k := range gcpkms.MasterKeysFromResourceIDString(r.GCPKMS) {
			g = append(g, k)
		}
	}
	if r.AzureKV != "" {
		list, err := azkv.MasterKeysFromURLs(r.AzureKV)
		if err != nil {
			return nil, badRecipient("--azure-kv", "a Key Vault key is named by its URL", "https://VAULT.vault.azure.net/keys/NAME or …/NAME/VERSION")
		}
		for _, k := range list {
			g = append(g, k)
		}
	}
	if r.PGP != "" {
		for _, k := range pgp.MasterKeysFromFingerprintString(r.PGP) {
			g = append(g, k)
		}
	}
	if r.HCVaultTransit != "" {
		list, err := hcvault.NewMasterKeysFromURIs(r.HCVaultTransit)
		if err != nil {
			return nil, badRecipient("--hc-vault-transit", "a Vault transit key is named by its URI", "https://HOST:8200/v1/transit/keys/NAME")
		}
		for _, k := range list {
			g = append(g, k)
		}
	}
	if r.Age != "" {
		list, err := sopsage.MasterKeysFromRecipients(r.Age)
		if err != nil {
			return nil, badRecipient("--age", "an age recipient is a public key", "age1…, ssh-ed25519 … or ssh-rsa …; a key that begins with AGE-SECRET-KEY- is private")
		}
		for _, k := range list {
			g = append(g, k)
		}
	}
	return g, nil
}

// badRecipient does not quote what was given: people paste private keys by mistake.
func badRecipient(flag, why, want string) error {
	return &fault.Fault{Code: "SLU-USAGE-032", Hop: fault.HopUsage, Seen: flag + " holds something that is no recipient", Why: why, Fix: "write " + want, Exit: exitGeneric}
}

// without returns groups less the recipients in rm, and says which of rm no group has.
func without(groups []getsops.KeyGroup, rm getsops.KeyGroup) (left []getsops.KeyGroup, unknown []string) {
	names := map[string]bool{}
	for _, k := range rm {
		names[k.TypeToIdentifier()+" "+k.ToString()] = false
	}
	for _, g := range groups {
		var kept getsops.KeyGroup
		for _, k := range g {
			name := describe(k)
			if _, ok := names[name]; !ok && k.TypeToIdentifier() == "kms" {
				name, _, _ = strings.Cut(name, "|") // the ARN alone, without the context and profile that the file has for it
			}
			if _, ok := names[name]; ok {
				names[name] = true
				continue
			}
			kept = append(kept, k)
		}
		if len(kept) > 0 {
			left = append(left, kept)
		}
	}
	for name, found := range names {
		if !found {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return left, unknown
}

// names lists recipients, group by group.
func names(groups []getsops.KeyGroup) string {
	var parts []string
	for i, g := range groups {
		var list []string
		for _, k := range g {
			list = append(list, describe(k))
		}
		text := strings.Join(list, ", ")
		if len(groups) > 1 {
			text = fmt.Sprintf("group %d: %s", i+1, text)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func describe(k keys.MasterKey) string { return k.TypeToIdentifier() + " " + k.ToString() }
