package sops

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	getsops "github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/shamir"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// sealVersion is what documents say sealed them: the library's release, whose format they have.
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
	Recipients      []getsops.KeyGroup
	ShamirThreshold int

	// Wrap encrypts a data key, or a Shamir part of it, for one recipient and returns what the document stores as enc.
	// handled false leaves the recipient to the library, which is done for age alone: the other kinds would call a cloud
	// or a gpg binary with whatever credentials lie around. nil handles none.
	Wrap func(ctx context.Context, recipient keys.MasterKey, dataKey []byte) (enc []byte, handled bool, err error)

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
			sealed, err = nil, libraryPanicked(o.Path)
		}
	}()
	branches, err := store(f, 0).LoadPlainFile(data)
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
		if store(f, 0).HasSopsTopLevelKey(b) || store(o.Output, 0).HasSopsTopLevelKey(b) {
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
		if err := o.wrap(ctx, &meta, key); err != nil {
			return nil, err
		}
	}
	tree := getsops.Tree{Branches: branches, Metadata: meta, FilePath: o.Path}
	if err := encryptWith(&tree, key, newCipher(), o.now()); err != nil {
		return nil, err
	}
	return (&Document{path: o.Path, tree: tree}).Emit(o.Output, o.indents())
}

func (o SealOptions) indents() Indents {
	if o.Indent != 0 {
		o.Indents.YAML = o.Indent
	}
	return o.Indents
}

// encryptWith replaces the values and sets time and MAC, which is bound to the time. A cipher that has decrypted the
// document gives unchanged values their ciphertext back.
func encryptWith(tree *getsops.Tree, key []byte, c *cipher, now time.Time) error {
	before := commentsInLists(tree.Branches)
	mac, err := withoutRegex(*tree).Encrypt(key, c)
	if err == nil && commentsInLists(tree.Branches) != before {
		return sopsFault("021", tree.FilePath, "a comment inside a list would be sealed",
			"the sops library writes it as one more item of the list, and the file's MAC then never matches again", "move the comment above the list's key, or leave it out")
	}
	if err != nil {
		return sopsFault("013", tree.FilePath, fmt.Sprintf("the value at %q cannot be encrypted", c.failed),
			"it has a type that sops does not know, or a comment that the rule would not find again after encryption", "write the value as a string")
	}
	tree.Metadata.LastModified = now.UTC().Truncate(time.Second)
	tree.Metadata.MessageAuthenticationCode, err = c.Encrypt(mac, key, tree.Metadata.LastModified.Format(time.RFC3339))
	return err
}

func (o SealOptions) now() time.Time {
	if o.Clock != nil {
		return o.Clock()
	}
	return time.Now()
}

func (o SealOptions) metadata() (Metadata, error) {
	m := Metadata{
		EncryptedRegex: o.EncryptedRegex, UnencryptedRegex: o.UnencryptedRegex,
		EncryptedSuffix: o.EncryptedSuffix, UnencryptedSuffix: o.UnencryptedSuffix,
		EncryptedCommentRegex: o.EncryptedCommentRegex, UnencryptedCommentRegex: o.UnencryptedCommentRegex,
		MACOnlyEncrypted: o.MACOnlyEncrypted, Version: sealVersion,
		KeyGroups: o.Recipients, ShamirThreshold: o.ShamirThreshold,
	}
	rules := 0
	for _, r := range []string{m.EncryptedRegex, m.UnencryptedRegex, m.EncryptedSuffix, m.UnencryptedSuffix, m.EncryptedCommentRegex, m.UnencryptedCommentRegex} {
		if r != "" {
			rules++
		}
	}
	if rules > 1 {
		return m, &fault.Fault{Code: "SLU-USAGE-021", Hop: fault.HopUsage, File: o.Path, Seen: "more than one rule of what to encrypt",
			Why: "sops allows one of the regexes and suffixes", Fix: "keep one of them"}
	}
	if rules == 0 {
		m.UnencryptedSuffix = getsops.DefaultUnencryptedSuffix
	}
	if m.MasterKeyCount() == 0 {
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
func (o SealOptions) wrapSome(ctx context.Context, m *Metadata, key []byte, keep func(group, recipient int) bool) error {
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
		for j, recipient := range g {
			if keep != nil && keep(i, j) {
				continue
			}
			if err := o.wrapFor(ctx, recipient, parts[i]); err != nil {
				return withFile(err, o.Path)
			}
		}
	}
	return nil
}

func (o SealOptions) wrapFor(ctx context.Context, recipient keys.MasterKey, part []byte) error {
	if o.Wrap != nil {
		enc, handled, err := o.Wrap(ctx, recipient, part)
		if err != nil {
			return err
		}
		if handled {
			recipient.SetEncryptedDataKey(enc)
			return nil
		}
	}
	if recipient.TypeToIdentifier() == "age" {
		if recipient.Encrypt(part) == nil {
			return nil
		}
		return sopsFault("014", o.Path, "the data key cannot be encrypted for "+recipient.ToString(), "it is not an age recipient",
			"correct the recipient: it begins with age1, ssh-ed25519 or ssh-rsa")
	}
	return sopsFault("015", o.Path, fmt.Sprintf("the data key cannot be encrypted for %s %s", recipient.TypeToIdentifier(), recipient.ToString()),
		"its public key is not at hand", "fetch the public key first")
}

// unsealable explains a plain file that does not parse. It quotes nothing: the file holds secrets in plain.
func unsealable(path string, f Format, err error) *fault.Fault {
	seen := fmt.Sprintf("the file is not valid %s", f)
	if m := lineNumber.FindStringSubmatch(err.Error()); m != nil {
		seen += " (line " + m[1] + ")"
	}
	return sopsFault("010", path, seen, "only a file that parses can be encrypted value by value", "correct the file, or encrypt it whole with --input-type binary")
}

// commentsInLists counts them: what sealing makes of one is a string.
func commentsInLists(v any) (n int) {
	switch v := v.(type) {
	case getsops.TreeBranches:
		for _, b := range v {
			n += commentsInLists(b)
		}
	case getsops.TreeBranch:
		for _, item := range v {
			n += commentsInLists(item.Value)
		}
	case []any:
		for _, item := range v {
			if _, is := item.(getsops.Comment); is {
				n++
			}
			n += commentsInLists(item)
		}
	}
	return n
}
