package sops

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/sops/cipher"
	"github.com/sluice-gitops/sluice/internal/sops/metadata"
	"github.com/sluice-gitops/sluice/internal/sops/store"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// Document is a sealed document that is to be read in parts or changed: Parse, then Open, then any of its changes, then
// Seal. What does not change keeps its ciphertext, so that a Git diff shows the change alone.
//
// States: parsed (metadata can be read, recipients replaced with Rewrap) → opened (values can be read and changed) →
// sealed (spent). It is for one goroutine.
type Document struct {
	path     string
	branches []tree.Branch
	meta     *Metadata
	cipher   *cipher.Cipher
	key      []byte
	source   source
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
			d, err = nil, parserPanicked(path)
		}
	}()
	branches, err := store.Sealed(f.Store()).Read(data)
	if err != nil {
		return nil, unreadable(path, f, err)
	}
	unknown := ""
	if f == YAML || f == JSON || f == Binary {
		unknown = metadata.Unknown(branches)
	}
	count := len(branches)
	groups, err := groupsOf(f, branches)
	if err != nil {
		return nil, unreadable(path, f, err)
	}
	if len(groups) != 1 || len(groups[0].at) != count {
		return nil, sopsFault("016", path, "the documents of the file were not sealed together",
			"some were sealed apart or not at all, and a change would seal all of them under one key", "split the file, one document each, and change the one you mean")
	}
	g := groups[0]
	if err := foreign(path, unknown, g.meta.Version); err != nil {
		return nil, err
	}
	return &Document{path: path, branches: g.branches, meta: g.meta, source: source{data, f}}, nil
}

// foreign refuses metadata that would not survive being written back.
func foreign(path, unknown, version string) error {
	const why = "a newer sops sealed the file; writing it back would lose what this version does not know"
	fix := "use the sops that sealed it: sops edit " + shellWord(path)
	if major, _, _ := strings.Cut(version, "."); major != "" {
		if n, err := strconv.Atoi(major); err == nil && n > 3 {
			return sopsFault("017", path, "the file was sealed by sops "+version, why, fix)
		}
	}
	if unknown != "" {
		return sopsFault("017", path, fmt.Sprintf("the file's sops metadata has an unknown field %q", unknown), why, fix)
	}
	return nil
}

// Metadata is what the document says about itself. The caller must not change it.
func (d *Document) Metadata() *Metadata { return d.meta }

// Open decrypts the document and verifies its MAC under p. With policy Warn the only error that leaves it open is a
// *MACWarning.
func (d *Document) Open(ctx context.Context, k Keyring, p MACPolicy) (err error) {
	defer func() {
		if recover() != nil {
			err = parserPanicked(d.path)
		}
	}()
	g := group{branches: d.branches, meta: d.meta, remember: true, source: d.source}
	err = g.open(ctx, k, d.path, p)
	if _, warned := err.(*MACWarning); err != nil && !warned {
		return err
	}
	d.key, d.cipher = g.key, g.cipher
	return err
}

// Key gives the data key together with the recipients' copies of it, for other documents to be sealed under. The
// document must be open.
func (d *Document) Key() *SharedKey {
	return &SharedKey{key: bytes.Clone(d.key), groups: d.meta.KeyGroups, threshold: d.meta.ShamirThreshold}
}

// Plain writes the opened document in a format, which may be another than its own.
func (d *Document) Plain(f Format, in Indents) (plain []byte, err error) {
	defer func() {
		if recover() != nil {
			plain, err = nil, unwritable(d.path, f)
		}
	}()
	if len(d.branches) > 1 && f != YAML {
		return nil, sopsFault("018", d.path, fmt.Sprintf("a stream of %d documents cannot be written as %s", len(d.branches), f),
			"only YAML has streams; sops itself would drop all but the first", "sluice secrets decrypt --output-type yaml "+shellWord(d.path))
	}
	out, err := in.store(f).Write(d.branches)
	if err != nil {
		return nil, unwritable(d.path, f)
	}
	return out, nil
}

// Seal encrypts the opened document again under the data key it had, as of now.
func (d *Document) Seal(f Format, in Indents, now time.Time) (sealed []byte, err error) {
	defer func() {
		if recover() != nil {
			sealed, err = nil, parserPanicked(d.path)
		}
		clear(d.key)
	}()
	if len(d.branches) == 0 {
		return nil, emptyDocument(d.path)
	}
	if err := encryptWith(d.path, d.branches, d.meta, d.cipher, now); err != nil {
		return nil, err
	}
	return d.Emit(f, in)
}

// Emit writes the document as it stands, without opening it: for changes of the metadata alone.
func (d *Document) Emit(f Format, in Indents) ([]byte, error) {
	out, err := store.WriteSealed(in.store(f), d.branches, d.meta)
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
			err = parserPanicked(d.path)
		}
	}()
	st := f.Store()
	branches, err := st.Read(plain)
	if err != nil {
		return unsealable(d.path, f, err)
	}
	if len(branches) == 0 {
		return emptyDocument(d.path)
	}
	for _, b := range branches {
		if st.Reserved(b) {
			return reservedKey(d.path)
		}
	}
	d.branches = branches
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
		b, err := JSON.Store().Read(text)
		if err != nil || len(b) == 0 {
			return nil, fmt.Errorf("not a JSON object")
		}
		return b[0], nil
	case []any:
		b, err := JSON.Store().Read([]byte(`{"v":` + string(text) + `}`))
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
			m, err = nil, parserPanicked(path)
		}
	}()
	groups, _, err := load(f, path, data)
	if err != nil {
		return nil, err
	}
	return groups[0].meta, nil
}
