package sops

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/sluice-gitops/sluice/internal/sops/cipher"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// SharedKey is one data key with every recipient's copy of it. Documents sealed under the same one can be opened after a
// single unwrapping, because the copies are equal byte for byte. What that trades: whoever holds the data key of one
// document can read them all, values can be swapped between documents at the same place, and taking a recipient away
// means sealing all of them anew.
type SharedKey struct {
	key       []byte
	groups    []recipient.Group
	threshold int
}

// NewSharedKey makes a data key and wraps it for the recipients of o; nothing else of o is used but Wrap and Path.
func NewSharedKey(ctx context.Context, o SealOptions) (*SharedKey, error) {
	m, err := o.metadata()
	if err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	if err := o.wrap(ctx, m, key); err != nil {
		return nil, err
	}
	return &SharedKey{key: key, groups: m.KeyGroups, threshold: m.ShamirThreshold}, nil
}

// Recipients are the key groups that the data key is wrapped for.
func (s *SharedKey) Recipients() ([]recipient.Group, int) { return s.groups, s.threshold }

// Forget overwrites the data key.
func (s *SharedKey) Forget() { clear(s.key) }

// Rekey makes Seal encrypt every value of an opened document under another data key, with its recipients.
func (d *Document) Rekey(s *SharedKey) {
	clear(d.key)
	d.key = slices.Clone(s.key)
	d.cipher = cipher.New(d.key) // the old one would use its nonces again
	d.meta.KeyGroups, d.meta.ShamirThreshold = s.groups, s.threshold
}

// Rewrap replaces the recipients and leaves data key, values, time and MAC as they are: only Emit is needed afterwards.
// keep says which recipients keep the copy that they have; it may be nil. A recipient that was taken away can still open
// the document with a data key that it kept: only Rekey shuts it out.
func (d *Document) Rewrap(ctx context.Context, k Keyring, o SealOptions, keep func(group, index int) bool) error {
	key, err := k.DataKey(ctx, d.meta)
	if err != nil {
		return withFile(err, d.path)
	}
	defer clear(key)
	m := *d.meta
	m.KeyGroups, m.ShamirThreshold = o.Recipients, o.ShamirThreshold
	if m.Recipients() == 0 {
		_, err := o.metadata()
		return err
	}
	if len(m.KeyGroups) > 1 {
		keep = nil // the parts of a data key are made anew, all of them
	}
	if err := o.wrapSome(ctx, &m, key, keep); err != nil {
		return err
	}
	d.meta.KeyGroups, d.meta.ShamirThreshold = m.KeyGroups, m.ShamirThreshold
	return nil
}

// NarrowMetadata changes the rule of what is encrypted; Seal applies it.
func (d *Document) NarrowMetadata(set func(m *Metadata)) { set(d.meta) }

func emptyDocument(path string) error {
	return sopsFault("011", path, "the file is empty", "there is no document to encrypt", "write the file first")
}

func reservedKey(path string) error {
	return sopsFault("012", path, "the file is already encrypted", "it has a sops entry of its own",
		fmt.Sprintf("sluice secrets edit %s", shellWord(path)))
}
