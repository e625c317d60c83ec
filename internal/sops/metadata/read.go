package metadata

import (
	"strings"

	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// Take takes the metadata out of the documents of a file, or of those of a YAML stream that were sealed together. It is
// the first document's; the others' copies are removed unread.
func Take(branches []tree.Branch) (*Metadata, error) {
	meta, err := takeEntry(branches)
	if err != nil {
		return nil, err
	}
	return Read(meta)
}

func takeEntry(branches []tree.Branch) (meta tree.Branch, err error) {
	found := false
	for i, b := range branches {
		kept := b[:0]
		for _, item := range b {
			if item.Key != Key {
				kept = append(kept, item)
				continue
			}
			if i > 0 {
				continue
			}
			if found {
				return nil, ErrTwice
			}
			var ok bool
			if meta, ok = item.Value.(tree.Branch); !ok {
				return nil, ErrNotMapping
			}
			found = true
		}
		clear(b[len(kept):])
		branches[i] = kept
	}
	if meta == nil {
		return nil, ErrMissing
	}
	return meta, nil
}

// TakeSection is Take for INI, where the metadata is a section of flattened keys in which line ends are written \n.
func TakeSection(branches []tree.Branch) (*Metadata, error) {
	flat, err := takeEntry(branches)
	if err != nil {
		return nil, err
	}
	for i, item := range flat {
		if text, ok := item.Value.(string); ok {
			flat[i].Value = strings.ReplaceAll(text, `\n`, "\n")
		}
	}
	return readFlat(flat)
}

// TakeLines is Take for dotenv, where the metadata is flattened among the other lines.
func TakeLines(branches []tree.Branch) (*Metadata, error) {
	if len(branches) == 0 {
		return nil, ErrMissing
	}
	var flat, kept tree.Branch
	for _, item := range branches[0] {
		if key, ok := item.Key.(string); ok && strings.HasPrefix(key, Prefix) {
			flat = append(flat, tree.Item{Key: key[len(Prefix):], Value: item.Value})
		} else {
			kept = append(kept, item)
		}
	}
	if flat == nil {
		return nil, ErrMissing
	}
	branches[0] = kept
	return readFlat(flat)
}

func readFlat(flat tree.Branch) (*Metadata, error) {
	b, err := unflatten(flat)
	if err != nil {
		return nil, err
	}
	return Read(b)
}

// Read reads the metadata's mapping.
func Read(b tree.Branch) (*Metadata, error) {
	r := &reader{}
	if !stringKeys(b) {
		r.fail(&FieldError{Key})
	}
	m := &Metadata{
		UnencryptedSuffix: r.text(b, "unencrypted_suffix"), EncryptedSuffix: r.text(b, "encrypted_suffix"),
		UnencryptedRegex: r.text(b, "unencrypted_regex"), EncryptedRegex: r.text(b, "encrypted_regex"),
		UnencryptedCommentRegex: r.text(b, "unencrypted_comment_regex"), EncryptedCommentRegex: r.text(b, "encrypted_comment_regex"),
		MessageAuthenticationCode: r.text(b, "mac"), MACOnlyEncrypted: r.flag(b, "mac_only_encrypted"), Version: r.text(b, "version"),
		ShamirThreshold: r.number(b, "shamir_threshold"), LastModified: r.time(b, "lastmodified"),
	}
	if g := r.group(b); len(g) > 0 {
		m.KeyGroups = []recipient.Group{g} // key_groups beside it are not used
	} else {
		r.each(b, "key_groups", func(b tree.Branch) { m.KeyGroups = append(m.KeyGroups, r.group(b)) })
	}
	rules := m.Rules()
	switch {
	case r.err != nil:
		return nil, r.err
	case len(m.KeyGroups) == 0:
		return nil, ErrNoRecipients
	case len(rules) > 1:
		return nil, ErrRules
	case len(rules) == 0:
		m.UnencryptedSuffix = DefaultUnencryptedSuffix
	}
	return m, nil
}

// group reads the recipients of a mapping, kind by kind in sops's order.
func (r *reader) group(b tree.Branch) (g recipient.Group) {
	add := func(k recipient.Key, b tree.Branch) {
		k.SetWrapped([]byte(r.text(b, "enc")))
		g = append(g, k)
	}
	const created = "created_at"
	r.each(b, "kms", func(b tree.Branch) {
		add(&recipient.KMS{Arn: r.text(b, "arn"), Role: r.text(b, "role"), EncryptionContext: r.texts(b, "context"),
			AwsProfile: r.text(b, "aws_profile"), CreationDate: r.time(b, created)}, b)
	})
	r.each(b, "gcp_kms", func(b tree.Branch) {
		add(&recipient.GCPKMS{ResourceID: r.text(b, "resource_id"), CreationDate: r.time(b, created)}, b)
	})
	r.each(b, "hckms", func(b tree.Branch) {
		k, err := recipient.ParseHuaweiKMS(r.text(b, "key_id"))
		if err != nil {
			r.fail(&FieldError{"key_id"})
			return
		}
		k.CreationDate = r.time(b, created)
		add(k, b)
	})
	r.each(b, "azure_kv", func(b tree.Branch) {
		add(&recipient.AzureKV{VaultURL: r.text(b, "vault_url"), Name: r.text(b, "name"), Version: r.text(b, "version"), CreationDate: r.time(b, created)}, b)
	})
	r.each(b, "hc_vault", func(b tree.Branch) {
		add(&recipient.HCVault{VaultAddress: r.text(b, "vault_address"), EnginePath: r.text(b, "engine_path"),
			KeyName: r.text(b, "key_name"), CreationDate: r.time(b, created)}, b)
	})
	r.each(b, "pgp", func(b tree.Branch) {
		add(&recipient.PGP{Fingerprint: r.text(b, "fp"), CreationDate: r.time(b, created)}, b)
	})
	r.each(b, "age", func(b tree.Branch) {
		add(&recipient.Age{Recipient: r.text(b, "recipient")}, b)
	})
	return g
}

// known are the fields that Write can write.
var known = map[string]bool{
	"shamir_threshold": true, "key_groups": true, "kms": true, "gcp_kms": true, "hckms": true, "azure_kv": true, "hc_vault": true,
	"age": true, "pgp": true, "lastmodified": true, "mac": true, "version": true, "mac_only_encrypted": true,
	"unencrypted_suffix": true, "encrypted_suffix": true, "unencrypted_regex": true, "encrypted_regex": true,
	"unencrypted_comment_regex": true, "encrypted_comment_regex": true,
}

// Unknown names a field of the metadata in documents of YAML or JSON that would be lost if it were written back, empty if
// there is none.
func Unknown(branches []tree.Branch) string {
	for _, b := range branches {
		for _, item := range b {
			meta, ok := item.Value.(tree.Branch)
			if item.Key != Key || !ok {
				continue
			}
			for _, m := range meta {
				if key, ok := m.Key.(string); ok && !known[key] {
					return key
				}
			}
		}
	}
	return ""
}
