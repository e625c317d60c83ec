package metadata

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// ErrReserved says that a document has an entry where its metadata goes.
var ErrReserved = errors.New("the document has an entry where its sops metadata goes")

// Put appends the metadata to every document, as YAML and JSON have it.
func (m *Metadata) Put(branches []tree.Branch) ([]tree.Branch, error) {
	return appended(branches, tree.Branch{{Key: Key, Value: m.Write()}}, func(key string) bool { return key == Key })
}

// PutSection appends the metadata as INI has it: see TakeSection.
func (m *Metadata) PutSection(branches []tree.Branch) ([]tree.Branch, error) {
	section := flat(m.Write(), "")
	for i, item := range section {
		if text, ok := item.Value.(string); ok {
			section[i].Value = strings.ReplaceAll(text, "\n", `\n`)
		}
	}
	return appended(branches, tree.Branch{{Key: Key, Value: section}}, func(key string) bool { return key == Key })
}

// PutLines appends the metadata as dotenv has it: see TakeLines.
func (m *Metadata) PutLines(branches []tree.Branch) ([]tree.Branch, error) {
	return appended(branches, flat(m.Write(), Prefix), func(key string) bool { return strings.HasPrefix(key, Prefix) })
}

func appended(branches []tree.Branch, entries tree.Branch, reserved func(key string) bool) ([]tree.Branch, error) {
	out := make([]tree.Branch, len(branches))
	for i, b := range branches {
		for _, item := range b {
			if key, ok := item.Key.(string); ok && reserved(key) {
				return nil, ErrReserved
			}
		}
		out[i] = append(b[:len(b):len(b)], entries...)
	}
	return out, nil
}

// fields builds a mapping; its keys are given in their order, which is the alphabet's.
type fields tree.Branch

func (f *fields) must(key string, v any) { *f = append(*f, tree.Item{Key: key, Value: v}) }

func (f *fields) may(key, text string) {
	if text != "" {
		f.must(key, text)
	}
}

func (f *fields) list(key string, list []any) {
	if len(list) > 0 {
		f.must(key, list)
	}
}

// Write gives the metadata's mapping, keys sorted, what is empty left out where sops leaves it out.
func (m *Metadata) Write() tree.Branch {
	var f fields
	var one map[string][]any
	var groups []any
	if len(m.KeyGroups) == 1 {
		one = kinds(m.KeyGroups[0])
	} else {
		for _, g := range m.KeyGroups {
			groups = append(groups, writeGroup(g))
		}
	}
	f.list("age", one["age"])
	f.list("azure_kv", one["azure_kv"])
	f.may("encrypted_comment_regex", m.EncryptedCommentRegex)
	f.may("encrypted_regex", m.EncryptedRegex)
	f.may("encrypted_suffix", m.EncryptedSuffix)
	f.list("gcp_kms", one["gcp_kms"])
	f.list("hc_vault", one["hc_vault"])
	f.list("hckms", one["hckms"])
	f.list("key_groups", groups)
	f.list("kms", one["kms"])
	f.must("lastmodified", m.LastModified.Format(time.RFC3339))
	f.must("mac", m.MessageAuthenticationCode)
	if m.MACOnlyEncrypted {
		f.must("mac_only_encrypted", true)
	}
	f.list("pgp", one["pgp"])
	if m.ShamirThreshold != 0 {
		f.must("shamir_threshold", m.ShamirThreshold)
	}
	f.may("unencrypted_comment_regex", m.UnencryptedCommentRegex)
	f.may("unencrypted_regex", m.UnencryptedRegex)
	f.may("unencrypted_suffix", m.UnencryptedSuffix)
	f.must("version", m.Version)
	return tree.Branch(f)
}

// writeGroup writes one of several groups. sops leaves out no age and hc_vault there.
func writeGroup(g recipient.Group) tree.Branch {
	var f fields
	of := kinds(g)
	orEmpty := func(list []any) []any {
		if list == nil {
			return []any{}
		}
		return list
	}
	f.must("age", orEmpty(of["age"]))
	f.list("azure_kv", of["azure_kv"])
	f.list("gcp_kms", of["gcp_kms"])
	f.must("hc_vault", orEmpty(of["hc_vault"]))
	f.list("hckms", of["hckms"])
	f.list("kms", of["kms"])
	f.list("pgp", of["pgp"])
	return tree.Branch(f)
}

// kinds writes the recipients of a group, by kind.
func kinds(g recipient.Group) map[string][]any {
	out := map[string][]any{}
	for _, k := range g {
		out[k.Kind()] = append(out[k.Kind()], writeKey(k))
	}
	return out
}

func writeKey(k recipient.Key) tree.Branch {
	var f fields
	created := func(at time.Time) { f.must("created_at", at.Format(time.RFC3339)) }
	wrapped := func() { f.must("enc", string(k.Wrapped())) }
	switch k := k.(type) {
	case *recipient.Age:
		wrapped()
		f.must("recipient", k.Recipient)
	case *recipient.PGP:
		created(k.CreationDate)
		wrapped()
		f.must("fp", k.Fingerprint)
	case *recipient.AzureKV:
		created(k.CreationDate)
		wrapped()
		f.must("name", k.Name)
		f.must("vault_url", k.VaultURL)
		f.must("version", k.Version)
	case *recipient.KMS:
		f.must("arn", k.Arn)
		f.must("aws_profile", k.AwsProfile)
		if len(k.EncryptionContext) > 0 {
			f.must("context", writeContext(k.EncryptionContext))
		}
		created(k.CreationDate)
		wrapped()
		f.may("role", k.Role)
	case *recipient.GCPKMS:
		created(k.CreationDate)
		wrapped()
		f.must("resource_id", k.ResourceID)
	case *recipient.HCVault:
		created(k.CreationDate)
		wrapped()
		f.must("engine_path", k.EnginePath)
		f.must("key_name", k.KeyName)
		f.must("vault_address", k.VaultAddress)
	case *recipient.HuaweiKMS:
		created(k.CreationDate)
		wrapped()
		f.must("key_id", k.KeyID)
	}
	return tree.Branch(f)
}

func writeContext(context map[string]*string) tree.Branch {
	var f fields
	for _, name := range slices.Sorted(maps.Keys(context)) {
		if value := context[name]; value != nil {
			f.must(name, *value)
		} else {
			f.must(name, nil)
		}
	}
	return tree.Branch(f)
}
