package sops

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops/cipher"
	"github.com/sluice-gitops/sluice/internal/sops/metadata"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/sops/shamir"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// sealVersion is what documents say sealed them: the release of sops whose format they have.
const sealVersion = "3.13.2"

// SealOptions say for whom a document is sealed and what of it is encrypted. At most one of the rules may be set; none
// means that every value is encrypted but those under keys that end in _unencrypted, as with sops.
type SealOptions struct {
	EncryptedRegex          string
	UnencryptedRegex        string
	EncryptedSuffix         string
	UnencryptedSuffix       string
	EncryptedCommentRegex   string
	UnencryptedCommentRegex string
	MACOnlyEncrypted        bool

	// Recipients are the key groups. With one group every recipient in it can open the document; with several, one of
	// each of ShamirThreshold groups is needed (0: of all).
	Recipients      []recipient.Group
	ShamirThreshold int

	// Wrap encrypts a data key, or a Shamir part of it, for one recipient and returns what the document stores as enc.
	// handled false leaves the recipient to this package, which wraps for age alone: that needs nothing but the name. nil
	// handles none.
	Wrap func(ctx context.Context, to recipient.Key, dataKey []byte) (enc []byte, handled bool, err error)

	// Shared seals under a data key that exists already, with its recipients; Recipients and Wrap are not used then.
	Shared *SharedKey

	Output  Format           // what to write; empty: the format that is read
	Indent  int              // of YAML; 0: 4, as sops
	Indents Indents          // of all formats; Indent wins over its YAML
	Clock   func() time.Time // nil: time.Now
	Path    string           // names the document in faults
}

// Seal encrypts a plain document and returns the SOPS document that sops itself would write, in the same format.
func Seal(ctx context.Context, data []byte, f Format, o SealOptions) (sealed []byte, err error) {
	if len(data) > MaxSize {
		return nil, tooLarge(o.Path, len(data))
	}
	if err := checkShape(f, data); err != nil {
		return nil, unsafeShape(o.Path, err)
	}
	defer func() {
		if recover() != nil {
			sealed, err = nil, parserPanicked(o.Path)
		}
	}()
	branches, err := f.Store().Read(data)
	if err != nil {
		return nil, unsealable(o.Path, f, err)
	}
	if len(branches) == 0 {
		return nil, emptyDocument(o.Path)
	}
	if o.Output == "" {
		o.Output = f
	}
	for _, b := range branches {
		if f.Store().Reserved(b) || o.Output.Store().Reserved(b) {
			return nil, reservedKey(o.Path)
		}
	}
	if o.Shared != nil {
		o.Recipients, o.ShamirThreshold = o.Shared.Recipients()
	}
	meta, err := o.metadata()
	if err != nil {
		return nil, err
	}
	if f == Binary && o.UnencryptedSuffix == "" {
		meta.UnencryptedSuffix = "" // one value under a name of the format's own: there is nothing to leave out
	}
	key := make([]byte, 32)
	defer clear(key)
	if o.Shared != nil {
		copy(key, o.Shared.key)
	} else {
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		if err := o.wrap(ctx, meta, key); err != nil {
			return nil, err
		}
	}
	if err := encryptWith(o.Path, branches, meta, cipher.New(key), o.now()); err != nil {
		return nil, err
	}
	return (&Document{path: o.Path, branches: branches, meta: meta}).Emit(o.Output, o.indents())
}

func (o SealOptions) indents() Indents {
	if o.Indent != 0 {
		o.Indents.YAML = o.Indent
	}
	return o.Indents
}

// encryptWith replaces the values and sets time and MAC, which is bound to the time. A cipher that has decrypted the
// document gives unchanged values their ciphertext back.
func encryptWith(path string, branches []tree.Branch, m *Metadata, c *cipher.Cipher, now time.Time) error {
	before := commentsInLists(branches)
	mac, err := c.Seal(branches, m)
	if err == nil && commentsInLists(branches) != before {
		return sopsFault("021", path, "a comment inside a list would be sealed",
			"sops writes it as one more item of the list, and the file's MAC then never matches again", "move the comment above the list's key, or leave it out")
	}
	if err != nil {
		return sopsFault("013", path, fmt.Sprintf("the value at %q cannot be encrypted", placeOf(err)),
			"it has a type that sops does not know, or a comment that the rule would not find again after encryption", "write the value as a string")
	}
	m.LastModified = now.UTC().Truncate(time.Second)
	m.MessageAuthenticationCode, err = c.Encrypt(mac, timeOf(m))
	return err
}

func (o SealOptions) now() time.Time {
	if o.Clock != nil {
		return o.Clock()
	}
	return time.Now()
}

func (o SealOptions) metadata() (*Metadata, error) {
	m := &Metadata{
		EncryptedRegex: o.EncryptedRegex, UnencryptedRegex: o.UnencryptedRegex,
		EncryptedSuffix: o.EncryptedSuffix, UnencryptedSuffix: o.UnencryptedSuffix,
		EncryptedCommentRegex: o.EncryptedCommentRegex, UnencryptedCommentRegex: o.UnencryptedCommentRegex,
		MACOnlyEncrypted: o.MACOnlyEncrypted, Version: sealVersion,
		KeyGroups: o.Recipients, ShamirThreshold: o.ShamirThreshold,
	}
	rules := len(m.Rules())
	if rules > 1 {
		return m, &fault.Fault{Code: "SLU-USAGE-021", Hop: fault.HopUsage, File: o.Path, Seen: "more than one rule of what to encrypt",
			Why: "sops allows one of the regexes and suffixes", Fix: "keep one of them"}
	}
	if rules == 0 {
		m.UnencryptedSuffix = metadata.DefaultUnencryptedSuffix
	}
	if m.Recipients() == 0 {
		return m, &fault.Fault{Code: "SLU-USAGE-022", Hop: fault.HopUsage, File: o.Path, Seen: "no recipient to encrypt for",
			Why: "without one nobody could decrypt the file", Fix: "name a recipient in .sops.yaml or on the command line"}
	}
	return m, nil
}

// wrap encrypts the data key for every recipient, splitting it first when there are several groups.
func (o SealOptions) wrap(ctx context.Context, m *Metadata, key []byte) error {
	return o.wrapSome(ctx, m, key, nil)
}

// wrapSome is wrap without the recipients that keep what they have.
func (o SealOptions) wrapSome(ctx context.Context, m *Metadata, key []byte, keep func(group, index int) bool) error {
	parts := [][]byte{key}
	if n := len(m.KeyGroups); n > 1 {
		if m.ShamirThreshold == 0 {
			m.ShamirThreshold = n
		}
		var err error
		if parts, err = shamir.Split(key, n, m.ShamirThreshold); err != nil {
			return &fault.Fault{Code: "SLU-USAGE-023", Hop: fault.HopUsage, File: o.Path,
				Seen: fmt.Sprintf("%d of %d key groups cannot be asked for", m.ShamirThreshold, n),
				Why:  "the threshold must be at least 2 and at most the number of groups", Fix: "correct shamir_threshold"}
		}
	}
	for i, g := range m.KeyGroups {
		for j, to := range g {
			if keep != nil && keep(i, j) {
				continue
			}
			if err := o.wrapFor(ctx, to, parts[i]); err != nil {
				return withFile(err, o.Path)
			}
		}
	}
	return nil
}

func (o SealOptions) wrapFor(ctx context.Context, to recipient.Key, part []byte) error {
	if o.Wrap != nil {
		enc, handled, err := o.Wrap(ctx, to, part)
		if err != nil {
			return err
		}
		if handled {
			to.SetWrapped(enc)
			return nil
		}
	}
	if to, ok := to.(*recipient.Age); ok {
		if to.Wrap(part) == nil {
			return nil
		}
		return sopsFault("014", o.Path, "the data key cannot be encrypted for "+to.String(), "it is not an age recipient",
			"correct the recipient: it begins with age1, ssh-ed25519 or ssh-rsa")
	}
	return sopsFault("015", o.Path, fmt.Sprintf("the data key cannot be encrypted for %s %s", to.Kind(), to),
		"its public key is not at hand", "fetch the public key first")
}

// unsealable explains a plain file that does not parse. It quotes nothing: the file holds secrets in plain.
func unsealable(path string, f Format, err error) *fault.Fault {
	seen := fmt.Sprintf("the file is not valid %s", f)
	seen += atLine(err)
	return sopsFault("010", path, seen, "only a file that parses can be encrypted value by value", "correct the file, or encrypt it whole with --input-type binary")
}

// commentsInLists counts them: what sealing makes of one is a string.
func commentsInLists(branches []tree.Branch) (n int) {
	for _, b := range branches {
		n += inLists(b, false)
	}
	return n
}

func inLists(v any, list bool) (n int) {
	switch v := v.(type) {
	case tree.Branch:
		for _, item := range v {
			n += inLists(item.Value, false)
		}
	case []any:
		for _, item := range v {
			n += inLists(item, true)
		}
	case tree.Comment:
		if list {
			n++
		}
	}
	return n
}
