package sops

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	getsops "github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/stores"
)

// Document is a sealed document that is to be read in parts or changed: Parse, then Open, then any of its changes, then
// Seal. What does not change keeps its ciphertext, so that a Git diff shows the change alone.
//
// States: parsed (metadata can be read, recipients replaced with Rewrap) → opened (values can be read and changed) →
// sealed (spent). It is for one goroutine.
type Document struct {
	path   string
	tree   getsops.Tree
	cipher *cipher
	key    []byte
	source source
}

// Parse reads a sealed document. Documents of a YAML stream must all have been sealed together, which is how sops writes
// them, because they are written back under one MAC. What a newer sops may have added to the metadata, and this version
// would lose, is refused.
func Parse(path string, data []byte, f Format) (d *Document, err error) {
	if len(data) > MaxSize {
		return nil, tooLarge(path, len(data))
	}
	if err := checkShape(f, data); err != nil {
		return nil, unsafeShape(path, err)
	}
	defer func() {
		if recover() != nil {
			d, err = nil, libraryPanicked(path)
		}
	}()
	st := store(f, 0)
	groups, branches, err := load(st, f, path, data)
	if err != nil {
		return nil, err
	}
	if len(groups) != 1 || len(groups[0].at) != len(branches) {
		return nil, sopsFault("016", path, "the documents of the file were not sealed together",
			"some were sealed apart or not at all, and a change would seal all of them under one key", "split the file, one document each, and change the one you mean")
	}
	tree := groups[0].tree
	if err := foreign(path, f, data, tree.Metadata.Version); err != nil {
		return nil, err
	}
	tree.FilePath = path
	return &Document{path: path, tree: tree, cipher: newCipher(), source: source{data, f}}, nil
}

// metadataFields are what this version of the library reads and writes.
var metadataFields = map[string]bool{
	"shamir_threshold": true, "key_groups": true, "kms": true, "gcp_kms": true, "hckms": true, "azure_kv": true, "hc_vault": true,
	"age": true, "pgp": true, "lastmodified": true, "mac": true, "version": true, "mac_only_encrypted": true,
	"unencrypted_suffix": true, "encrypted_suffix": true, "unencrypted_regex": true, "encrypted_regex": true,
	"unencrypted_comment_regex": true, "encrypted_comment_regex": true,
}

// foreign refuses metadata that would not survive being written back.
func foreign(path string, f Format, data []byte, version string) error {
	const why = "a newer sops sealed the file; writing it back would lose what this version does not know"
	fix := "use the sops that sealed it: sops edit " + shellWord(path)
	if major, _, _ := strings.Cut(version, "."); major != "" {
		if n, err := strconv.Atoi(major); err == nil && n > 3 {
			return sopsFault("017", path, "the file was sealed by sops "+version, why, fix)
		}
	}
	if f != YAML && f != JSON && f != Binary {
		return nil
	}
	plain := f
	if f == Binary {
		plain = JSON
	}
	branches, err := store(plain, 0).LoadPlainFile(data)
	if err != nil {
		return unreadable(path, f, err)
	}
	for _, b := range branches {
		for _, item := range b {
			meta, ok := item.Value.(getsops.TreeBranch)
			if item.Key != stores.SopsMetadataKey || !ok {
				continue
			}
			for _, m := range meta {
				if key, ok := m.Key.(string); ok && !metadataFields[key] {
					return sopsFault("017", path, fmt.Sprintf("the file's sops metadata has an unknown field %q", key), why, fix)
				}
			}
		}
	}
	return nil
}

// Metadata is what the document says about itself. The caller must not change it.
func (d *Document) Metadata() *Metadata { return &d.tree.Metadata }

// Open decrypts the document and verifies its MAC under p. With policy Warn the only error that leaves it open is a
// *MACWarning.
func (d *Document) Open(ctx context.Context, k Keyring, p MACPolicy) (err error) {
	defer func() {
		if recover() != nil {
			err = libraryPanicked(d.path)
		}
	}()
	g := group{tree: d.tree, cipher: d.cipher, source: d.source}
	err = g.open(ctx, k, d.path, p)
	if _, warned := err.(*MACWarning); err != nil && !warned {
		return err
	}
	d.tree, d.key = g.tree, g.key
	return err
}

// Key gives the data key together with the recipients' copies of it, for other documents to be sealed under. The
// document must be open.
func (d *Document) Key() *SharedKey {
	return &SharedKey{key: bytes.Clone(d.key), groups: d.tree.Metadata.KeyGroups, threshold: d.tree.Metadata.ShamirThreshold}
}

// Plain writes the opened document in a format, which may be another than its own.
func (d *Document) Plain(f Format, in Indents) (plain []byte, err error) {
	defer func() {
		if recover() != nil {
			plain, err = nil, unwritable(d.path, f)
		}
	}()
	if len(d.tree.Branches) > 1 && f != YAML {
		return nil, sopsFault("018", d.path, fmt.Sprintf("a stream of %d documents cannot be written as %s", len(d.tree.Branches), f),
			"only YAML has streams; sops itself would drop all but the first", "sluice secrets decrypt --output-type yaml "+shellWord(d.path))
	}
	out, err := in.store(f).EmitPlainFile(d.tree.Branches)
	if err != nil {
		return nil, unwritable(d.path, f)
	}
	return out, nil
}

// Seal encrypts the opened document again under the data key it had, as of now.
func (d *Document) Seal(f Format, in Indents, now time.Time) (sealed []byte, err error) {
	defer func() {
		if recover() != nil {
			sealed, err = nil, libraryPanicked(d.path)
		}
		clear(d.key)
	}()
	if len(d.tree.Branches) == 0 {
		return nil, emptyDocument(d.path)
	}
	if err := encryptWith(&d.tree, d.key, d.cipher, now); err != nil {
		return nil, err
	}
	return d.Emit(f, in)
}

// Emit writes the document as it stands, without opening it: for changes of the metadata alone.
func (d *Document) Emit(f Format, in Indents) ([]byte, error) {
	out, err := in.store(f).EmitEncryptedFile(d.tree)
	if err != nil {
		return nil, unwritable(d.path, f)
	}
	return out, nil
}

// Replace puts other content in the place of the opened document's, as an editor returns it. Values that are still where
// they were keep their ciphertext.
func (d *Document) Replace(plain []byte, f Format) (err error) {
	if err := checkShape(f, plain); err != nil {
		return unsafeShape(d.path, err)
	}
	defer func() {
		if recover() != nil {
			err = libraryPanicked(d.path)
		}
	}()
	st := store(f, 0)
	branches, err := st.LoadPlainFile(plain)
	if err != nil {
		return unsealable(d.path, f, err)
	}
	if len(branches) == 0 {
		return emptyDocument(d.path)
	}
	for _, b := range branches {
		if st.HasSopsTopLevelKey(b) {
			return reservedKey(d.path)
		}
	}
	d.tree.Branches = branches
	return nil
}

// ParseValue reads a value as sops's set takes it: JSON, of which objects and lists keep their order.
func ParseValue(text []byte) (any, error) {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	switch v.(type) {
	case map[string]any:
		b, err := store(JSON, 0).LoadPlainFile(text)
		if err != nil || len(b) == 0 {
			return nil, fmt.Errorf("not a JSON object")
		}
		return b[0], nil
	case []any:
		b, err := store(JSON, 0).LoadPlainFile([]byte(`{"v":` + string(text) + `}`))
		if err != nil || len(b) == 0 || len(b[0]) == 0 {
			return nil, fmt.Errorf("not a JSON list")
		}
		return b[0][0].Value, nil
	case float64:
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			return n, nil
		}
	}
	return v, nil
}

// Peek reads a sealed document's metadata, the first's of a stream, without any key.
func Peek(path string, data []byte, f Format) (m *Metadata, err error) {
	if len(data) > MaxSize {
		return nil, tooLarge(path, len(data))
	}
	if err := checkShape(f, data); err != nil {
		return nil, unsafeShape(path, err)
	}
	defer func() {
		if recover() != nil {
			m, err = nil, libraryPanicked(path)
		}
	}()
	groups, _, err := load(store(f, 0), f, path, data)
	if err != nil {
		return nil, err
	}
	return &groups[0].tree.Metadata, nil
}
