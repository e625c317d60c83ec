package sops

import (
	"errors"
	"testing"

	upstream "github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	upage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/stores/dotenv"
	"github.com/getsops/sops/v3/stores/ini"
	"github.com/getsops/sops/v3/stores/json"
	"github.com/getsops/sops/v3/stores/yaml"
	"github.com/getsops/sops/v3/version"

	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// The sops library, the judge of these tests. No other file of the program's own code may import it; internal/lawtest
// sees to that.

// upstreamStore is the library's reader and writer of a format.
func upstreamStore(f Format, in Indents) upstream.Store {
	c := config.NewStoresConfig()
	c.YAML.Indent = in.YAML
	if in.JSON != 0 {
		c.JSON.Indent = max(in.JSON, 0)
	}
	if in.Binary != 0 {
		c.JSONBinary.Indent = max(in.Binary, 0)
	}
	switch f {
	case YAML:
		return yaml.NewStore(&c.YAML)
	case JSON:
		return json.NewStore(&c.JSON)
	case Dotenv:
		return dotenv.NewStore(&c.Dotenv)
	case INI:
		return ini.NewStore(&c.INI)
	}
	return json.NewBinaryStore(&c.JSONBinary)
}

// toUpstream and fromUpstream turn trees into one another's.
func toUpstream(v any) any {
	switch v := v.(type) {
	case tree.Branch:
		out := upstream.TreeBranch{}
		for _, item := range v {
			out = append(out, upstream.TreeItem{Key: toUpstream(item.Key), Value: toUpstream(item.Value)})
		}
		return out
	case []any:
		var out []any
		for _, item := range v {
			out = append(out, toUpstream(item))
		}
		return out
	case tree.Comment:
		return upstream.Comment{Value: v.Text, Inline: v.Inline}
	}
	return v
}

func fromUpstream(v any) any {
	switch v := v.(type) {
	case upstream.TreeBranch:
		out := tree.Branch{}
		for _, item := range v {
			out = append(out, tree.Item{Key: fromUpstream(item.Key), Value: fromUpstream(item.Value)})
		}
		return out
	case []any:
		var out []any
		for _, item := range v {
			out = append(out, fromUpstream(item))
		}
		return out
	case upstream.Comment:
		return tree.Comment{Text: v.Value, Inline: v.Inline}
	}
	return v
}

func allToUpstream(branches []tree.Branch) (out upstream.TreeBranches) {
	for _, b := range branches {
		out = append(out, toUpstream(b).(upstream.TreeBranch))
	}
	return out
}

func allFromUpstream(branches upstream.TreeBranches) (out []tree.Branch) {
	for _, b := range branches {
		out = append(out, fromUpstream(b).(tree.Branch))
	}
	return out
}

// upstreamGroups are age recipients as the library has them.
func upstreamGroups(t testing.TB, groups []recipient.Group) (out []upstream.KeyGroup) {
	t.Helper()
	for _, g := range groups {
		var list upstream.KeyGroup
		for _, k := range g {
			key, err := upage.MasterKeyFromRecipient(k.String())
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, key)
		}
		out = append(out, list)
	}
	return out
}

// sealUpstream seals as `sops encrypt` does, through the same calls. Its error is the library's.
func sealUpstream(t testing.TB, groups []recipient.Group, f Format, plain []byte, o SealOptions) ([]byte, error) {
	t.Helper()
	st := upstreamStore(f, o.indents())
	branches, err := st.LoadPlainFile(plain)
	if err != nil {
		return nil, err
	}
	if len(branches) < 1 {
		return nil, upstream.MetadataNotFound // as its command refuses
	}
	meta := upstream.Metadata{
		UnencryptedSuffix: o.UnencryptedSuffix, EncryptedSuffix: o.EncryptedSuffix, UnencryptedRegex: o.UnencryptedRegex, EncryptedRegex: o.EncryptedRegex,
		UnencryptedCommentRegex: o.UnencryptedCommentRegex, EncryptedCommentRegex: o.EncryptedCommentRegex, MACOnlyEncrypted: o.MACOnlyEncrypted,
		KeyGroups: upstreamGroups(t, groups), ShamirThreshold: o.ShamirThreshold, Version: version.Version,
	}
	if m, err := (SealOptions{Recipients: groups, UnencryptedSuffix: o.UnencryptedSuffix, EncryptedSuffix: o.EncryptedSuffix, UnencryptedRegex: o.UnencryptedRegex,
		EncryptedRegex: o.EncryptedRegex, UnencryptedCommentRegex: o.UnencryptedCommentRegex, EncryptedCommentRegex: o.EncryptedCommentRegex}).metadata(); err == nil && f != Binary {
		meta.UnencryptedSuffix = m.UnencryptedSuffix // sops's command sets the default, but for binary files
	}
	t2 := upstream.Tree{Branches: branches, Metadata: meta}
	key, errs := t2.GenerateDataKey()
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if err := common.EncryptTree(common.EncryptTreeOpts{Tree: &t2, DataKey: key, Cipher: aes.NewCipher()}); err != nil {
		return nil, err
	}
	return st.EmitEncryptedFile(t2)
}

// openUpstream opens as `sops decrypt` does, MAC verified, and gives the tree too.
func openUpstream(r ring, f Format, sealed []byte) (plain []byte, branches []tree.Branch, err error) {
	st := upstreamStore(f, Indents{})
	t, err := st.LoadEncryptedFile(sealed)
	if err != nil {
		return nil, nil, err
	}
	for _, g := range t.Metadata.KeyGroups {
		for _, k := range g {
			if k, ok := k.(*upage.MasterKey); ok && t.Metadata.DataKey == nil {
				upage.ParsedIdentities{r.id}.ApplyToMasterKey(k)
				t.Metadata.DataKey, _ = k.Decrypt()
			}
		}
	}
	if t.Metadata.DataKey == nil {
		return nil, nil, errors.New("no recipient opens")
	}
	if _, err := common.DecryptTree(common.DecryptTreeOpts{Tree: &t, Cipher: aes.NewCipher()}); err != nil {
		return nil, nil, err
	}
	plain, err = st.EmitPlainFile(t.Branches)
	return plain, allFromUpstream(t.Branches), err
}
