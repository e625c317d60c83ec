package secrets

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
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
func (r Recipients) Keys() (recipient.Group, error) {
	context, err := recipient.ParseContext(r.EncryptionContext)
	if err != nil {
		return nil, &fault.Fault{Code: "SLU-USAGE-031", Hop: fault.HopUsage, Seen: "--encryption-context cannot be read",
			Fix: "write it as name:value,name:value", Exit: 6}
	}
	var g recipient.Group
	add := func(some recipient.Group, err error) bool {
		g = append(g, some...)
		return err == nil
	}
	_ = add(recipient.List(r.KMS, func(s string) (*recipient.KMS, error) { return recipient.ParseKMS(s, context, r.AWSProfile), nil }))
	_ = add(recipient.List(r.GCPKMS, func(s string) (*recipient.GCPKMS, error) { return recipient.NewGCPKMS(s), nil }))
	if !add(recipient.List(r.AzureKV, recipient.ParseAzureKV)) {
		return nil, badRecipient("--azure-kv", "a Key Vault key is named by its URL", "https://VAULT.vault.azure.net/keys/NAME or …/NAME/VERSION")
	}
	_ = add(recipient.List(r.PGP, func(s string) (*recipient.PGP, error) { return recipient.NewPGP(s), nil }))
	if !add(recipient.List(r.HCVaultTransit, recipient.ParseHCVault)) {
		return nil, badRecipient("--hc-vault-transit", "a Vault transit key is named by its URI", "https://HOST:8200/v1/transit/keys/NAME")
	}
	if !add(recipient.List(r.Age, recipient.ParseAge)) {
		return nil, badRecipient("--age", "an age recipient is a public key", "age1…, ssh-ed25519 … or ssh-rsa …; a key that begins with AGE-SECRET-KEY- is private")
	}
	return g, nil
}

// badRecipient does not quote what was given: people paste private keys by mistake.
func badRecipient(flag, why, want string) error {
	return &fault.Fault{Code: "SLU-USAGE-032", Hop: fault.HopUsage, Seen: flag + " holds something that is no recipient", Why: why, Fix: "write " + want, Exit: exitGeneric}
}

// without returns groups less the recipients in rm, and says which of rm no group has. A Key Vault key that is named
// without version stands for all its versions.
func without(groups []recipient.Group, rm recipient.Group) (left []recipient.Group, unknown []string) {
	found := make([]bool, len(rm))
	for _, g := range groups {
		var kept recipient.Group
		for _, k := range g {
			gone := false
			for i, r := range rm {
				if means(r, k) {
					found[i], gone = true, true
				}
			}
			if !gone {
				kept = append(kept, k)
			}
		}
		if len(kept) > 0 {
			left = append(left, kept)
		}
	}
	for i, r := range rm {
		if !found[i] {
			unknown = append(unknown, describe(r))
		}
	}
	slices.Sort(unknown)
	return left, slices.Compact(unknown)
}

// means says whether a recipient as somebody wrote it down means k.
func means(written, k recipient.Key) bool {
	if a, ok := written.(*recipient.AzureKV); ok && a.Version == "" {
		b, ok := k.(*recipient.AzureKV)
		return ok && strings.TrimSuffix(a.VaultURL, "/") == strings.TrimSuffix(b.VaultURL, "/") && a.Name == b.Name
	}
	if describe(written) == describe(k) {
		return true
	}
	name, _, _ := strings.Cut(describe(k), "|") // the ARN alone, without the context and profile that the file has for it
	return k.Kind() == "kms" && describe(written) == name
}

// names lists recipients, group by group.
func names(groups []recipient.Group) string {
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

func describe(k recipient.Key) string { return k.Kind() + " " + k.String() }
