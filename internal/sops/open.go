package sops

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"

	getsops "github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/stores"
)

// Open decrypts a SOPS document and verifies its MAC. It returns the plaintext in the same format, with the metadata
// removed. path names the document in faults and in the library's audit trail; nothing is read from it.
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
	// The library panics on some forged documents, for example on a value of type bytes.
	defer func() {
		if recover() != nil {
			plain, err = nil, libraryPanicked(path)
		}
	}()
	st := store(f, 0)
	groups, branches, err := load(st, f, path, data)
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
			branches[at] = g.tree.Branches[i]
		}
	}
	plain, err = st.EmitPlainFile(branches)
	if err != nil {
		return nil, unwritable(path, f)
	}
	return plain, warning
}

// group is a set of documents of one file that were sealed together: one data key, one MAC.
type group struct {
	tree   getsops.Tree
	at     []int   // positions of the tree's branches in the file
	cipher *cipher // nil: one of its own
	key    []byte  // the data key, where cipher was given: its user goes on with both
	source source
}

// load parses a document and finds its metadata. For all formats but YAML there is exactly one group.
func load(st getsops.Store, f Format, path string, data []byte) ([]*group, getsops.TreeBranches, error) {
	if f != YAML {
		tree, err := st.LoadEncryptedFile(data)
		if err != nil {
			return nil, nil, unreadable(path, f, err)
		}
		g := &group{tree: tree, source: source{data, f}}
		for i := range tree.Branches {
			g.at = append(g.at, i)
		}
		return []*group{g}, tree.Branches, nil
	}
	branches, err := st.LoadPlainFile(data)
	if err != nil {
		return nil, nil, unreadable(path, f, err)
	}
	var groups []*group
	byMAC := map[string]*group{}
	for i, b := range branches {
		mac, sealed := sealOf(b)
		if !sealed {
			continue
		}
		g := byMAC[mac]
		if g == nil {
			g = &group{source: source{data, f}}
			byMAC[mac] = g
			groups = append(groups, g)
		}
		g.tree.Branches = append(g.tree.Branches, b)
		g.at = append(g.at, i)
	}
	if len(groups) == 0 {
		return nil, nil, noMetadata(path)
	}
	for _, g := range groups {
		if g.tree.Branches, g.tree.Metadata, err = stores.ExtractMetadata(g.tree.Branches, stores.MetadataOpts{}); err != nil {
			return nil, nil, unreadable(path, f, err)
		}
	}
	return groups, branches, nil
}

// sealOf finds the metadata of a YAML document and its MAC. A mapping named sops that is somebody else's is not a seal.
func sealOf(b getsops.TreeBranch) (mac string, sealed bool) {
	for _, item := range b {
		meta, ok := item.Value.(getsops.TreeBranch)
		if item.Key != stores.SopsMetadataKey || !ok {
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
	key, err := k.DataKey(ctx, &g.tree.Metadata)
	if err != nil {
		return withFile(err, path)
	}
	c := g.cipher
	if c == nil {
		defer clear(key)
		c = newCipher()
	} else {
		g.key = key
	}
	g.tree.FilePath = path
	computed, err := withoutRegex(g.tree).Decrypt(key, c)
	if err != nil {
		return undecryptable(path, c.failed, g.source.line(c.failed))
	}
	if p == Off {
		return nil
	}
	sealed := g.tree.Metadata.MessageAuthenticationCode
	stored, err := c.Decrypt(sealed, key, g.tree.Metadata.LastModified.Format(time.RFC3339))
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
