package sops

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"

	"github.com/sluice-gitops/sluice/internal/sops/cipher"
	"github.com/sluice-gitops/sluice/internal/sops/metadata"
	"github.com/sluice-gitops/sluice/internal/sops/store"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// Open decrypts a SOPS document and verifies its MAC. It returns the plaintext in the same format, with the metadata
// removed. path names the document in faults.
//
// A YAML stream may hold documents that were sealed together (they share one MAC, which is what sops writes), documents
// that were sealed apart and concatenated (each is verified by itself) and plain documents, which pass as they are.
//
// Errors are faults of hop "sops" with path as their file, or what the Keyring returned, with path filled in. With
// policy Warn the plaintext of a document with a wrong MAC comes together with a *MACWarning.
func Open(ctx context.Context, k Keyring, path string, data []byte, f Format, p MACPolicy) (plain []byte, err error) {
	if len(data) > MaxSize {
		return nil, tooLarge(path, len(data))
	}
	if err := checkShape(f, data); err != nil {
		return nil, unsafeShape(path, err)
	}
	defer func() {
		if recover() != nil { // a parser's bug
			plain, err = nil, parserPanicked(path)
		}
	}()
	groups, branches, err := load(f, path, data)
	if err != nil {
		return nil, err
	}
	var warning error
	for _, g := range groups {
		if err := g.open(ctx, k, path, p); err != nil {
			var w *MACWarning
			if !errors.As(err, &w) {
				return nil, err
			}
			warning = err
		}
	}
	for _, g := range groups {
		for i, at := range g.at {
			branches[at] = g.branches[i]
		}
	}
	plain, err = f.Store().Write(branches)
	if err != nil {
		return nil, unwritable(path, f)
	}
	return plain, warning
}

// group is a set of documents of one file that were sealed together: one data key, one MAC.
type group struct {
	branches []tree.Branch
	meta     *Metadata
	at       []int // positions of the branches in the file
	source   source
	remember bool // keep key and cipher: their user goes on with both
	key      []byte
	cipher   *cipher.Cipher
}

// load parses a document and finds its metadata. For all formats but YAML there is exactly one group.
func load(f Format, path string, data []byte) ([]*group, []tree.Branch, error) {
	branches, err := store.Sealed(f.Store()).Read(data)
	if err != nil {
		return nil, nil, unreadable(path, f, err)
	}
	groups, err := groupsOf(f, branches)
	if err != nil {
		return nil, nil, unreadable(path, f, err)
	}
	for _, g := range groups {
		g.source = source{data, f}
	}
	return groups, branches, nil
}

func groupsOf(f Format, branches []tree.Branch) (groups []*group, err error) {
	if f != YAML {
		g := &group{branches: branches}
		for i := range branches {
			g.at = append(g.at, i)
		}
		g.meta, err = f.Store().Take(branches)
		return []*group{g}, err
	}
	byMAC := map[string]*group{}
	for i, b := range branches {
		mac, sealed := sealOf(b)
		if !sealed {
			continue
		}
		g := byMAC[mac]
		if g == nil {
			g = &group{}
			byMAC[mac] = g
			groups = append(groups, g)
		}
		g.branches = append(g.branches, b)
		g.at = append(g.at, i)
	}
	if len(groups) == 0 {
		return nil, metadata.ErrMissing
	}
	for _, g := range groups {
		if g.meta, err = f.Store().Take(g.branches); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// sealOf finds the metadata of a YAML document and its MAC. A mapping named sops that is somebody else's is not a seal.
func sealOf(b tree.Branch) (mac string, sealed bool) {
	for _, item := range b {
		meta, ok := item.Value.(tree.Branch)
		if item.Key != metadata.Key || !ok {
			continue
		}
		for _, m := range meta {
			key, _ := m.Key.(string)
			if sealMark(key) {
				sealed = true
			}
			if key == "mac" {
				mac, _ = m.Value.(string)
			}
		}
	}
	return mac, sealed
}

// open decrypts the group's branches in place and verifies the MAC over them.
func (g *group) open(ctx context.Context, k Keyring, path string, p MACPolicy) error {
	key, err := k.DataKey(ctx, g.meta)
	if err != nil {
		return withFile(err, path)
	}
	c := cipher.New(key)
	if g.remember {
		g.key, g.cipher = key, c
		c.Remember()
	} else {
		defer clear(key)
	}
	computed, err := c.Open(g.branches, g.meta)
	if err != nil {
		where := placeOf(err)
		return undecryptable(path, where, g.source.line(where))
	}
	if p == Off {
		return nil
	}
	sealed := g.meta.MessageAuthenticationCode
	stored, err := c.Decrypt(sealed, timeOf(g.meta))
	text, _ := stored.(string)
	if err == nil && sealed != "" && subtle.ConstantTimeCompare([]byte(text), []byte(computed)) == 1 {
		return nil
	}
	f := macMismatch(path, sealed == "")
	if p == Warn {
		return &MACWarning{f}
	}
	return f
}

// timeOf is what a MAC is bound to.
func timeOf(m *Metadata) []byte { return m.LastModified.AppendFormat(nil, time.RFC3339) }

func placeOf(err error) string {
	var at *cipher.Error
	if errors.As(err, &at) {
		return at.Where
	}
	return ""
}
