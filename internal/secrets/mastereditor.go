package secrets

import (
	"bytes"
	"context"
	"slices"

	"github.com/sluice-gitops/sluice/internal/sops"
)

// EditWithMetadata is Edit with the document's sops metadata below the plaintext, as sops's edit --show-master-keys shows
// it. What was changed there is taken: recipients, the threshold of their groups, what is encrypted. MAC, time and version
// are computed anew whatever stands there. A new recipient needs no enc; one that stays keeps its copy of the data key.
//
// The rules of .sops.yaml are held against what comes back: where they refuse it, the editor opens again.
func (e *Engine) EditWithMetadata(ctx context.Context, path string, data []byte, edit Editor) (Output, error) {
	in, out := e.formats(path)
	rule, ind, err := e.rule(path)
	if err != nil {
		return Output{}, err
	}
	d, err := e.open(ctx, path, data, in)
	if err != nil {
		return Output{}, err
	}
	before := *d.Metadata()
	text, err := d.Emit(in, ind)
	if err != nil {
		return Output{}, err
	}
	var tell []string
	_, err = edit(ctx, path, text, func(text []byte) (err error) {
		if err := readable(path, text, in); err != nil {
			return err
		}
		wanted, err := sops.Parse(path, text, in)
		if err != nil {
			return err
		}
		if tell, err = e.enforce(path, rule, wanted.Metadata()); err != nil {
			return err
		}
		plain, err := wanted.Plain(in, ind) // of what was never encrypted: the values as they were typed
		if err != nil {
			return err
		}
		if err := d.Replace(plain, in); err != nil {
			return err
		}
		return e.takeMetadata(ctx, path, d, &before, wanted.Metadata())
	})
	if err != nil {
		return Output{}, err
	}
	sealed, err := d.Seal(out, ind, e.now())
	if err != nil {
		return Output{}, err
	}
	return e.result(path, rule, d.Metadata(), data, sealed, out, "edited", tell)
}

// takeMetadata gives the opened document the choice of values and the recipients that somebody typed.
func (e *Engine) takeMetadata(ctx context.Context, path string, d *sops.Document, before, want *sops.Metadata) error {
	d.NarrowMetadata(func(m *sops.Metadata) {
		m.EncryptedRegex, m.UnencryptedRegex = want.EncryptedRegex, want.UnencryptedRegex
		m.EncryptedSuffix, m.UnencryptedSuffix = want.EncryptedSuffix, want.UnencryptedSuffix
		m.EncryptedCommentRegex, m.UnencryptedCommentRegex = want.EncryptedCommentRegex, want.UnencryptedCommentRegex
		m.MACOnlyEncrypted = want.MACOnlyEncrypted
		m.KeyGroups, m.ShamirThreshold = before.KeyGroups, before.ShamirThreshold // the data key is found by these
	})
	if count(want) == 0 {
		return secretFault("007", path, "no recipient would be left", "nobody could decrypt the file", "leave a recipient in the sops entry at the end", exitGeneric)
	}
	threshold := want.ShamirThreshold
	if threshold > len(want.KeyGroups) && len(want.KeyGroups) > 1 {
		return tooManyGroups(path, threshold, len(want.KeyGroups))
	}
	if len(want.KeyGroups) == 1 {
		threshold = 0
	}
	if names(want.KeyGroups) == names(before.KeyGroups) && threshold == before.ShamirThreshold {
		return nil
	}
	had := map[string][]byte{}
	for _, k := range slices.Concat(before.KeyGroups...) {
		had[describe(k)] = k.Wrapped()
	}
	single := len(want.KeyGroups) == 1 && len(before.KeyGroups) == 1 // else each group has a part of the data key, made anew
	return d.Rewrap(ctx, e.Keys, sops.SealOptions{Recipients: want.KeyGroups, ShamirThreshold: threshold, Wrap: e.Wrap, Path: path},
		func(group, recipient int) bool {
			k := want.KeyGroups[group][recipient]
			enc, ok := had[describe(k)]
			return single && ok && bytes.Equal(enc, k.Wrapped())
		})
}
