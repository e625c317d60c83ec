package cipher

import (
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"strings"

	"github.com/sluice-gitops/sluice/internal/sops/metadata"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// macOnlyEncrypted begins the MAC of documents whose MAC covers encrypted values alone, so that the two kinds never
// match: the SHA-256 of "sops".
var macOnlyEncrypted = []byte{
	0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
	0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
}

// An Error says where a value stands that could not be encrypted or decrypted: its keys joined by dots.
type Error struct {
	Where string
	Err   error
}

// Error tells the place.
func (e *Error) Error() string { return e.Where + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

var (
	errKey     = errors.New("a key is not text")
	errPlain   = errors.New("a plain value stands where an encrypted one is expected")
	errComment = errors.New("the encrypted comment meets the regex of comments before plain values")
)

// walker goes through a document's values in order.
type walker struct {
	c          *Cipher
	rule       *rule
	mac        hash.Hash
	onlySealed bool
	seal       bool
	path       []byte // the keys above, each followed by a colon
}

// Open decrypts the documents in place and returns what their MAC should be, in upper-case hexadecimal.
func (c *Cipher) Open(branches []tree.Branch, m *metadata.Metadata) (mac string, err error) {
	return c.walk(branches, m, false)
}

// Seal encrypts the documents in place and returns their MAC, which is still to be encrypted.
func (c *Cipher) Seal(branches []tree.Branch, m *metadata.Metadata) (mac string, err error) {
	return c.walk(branches, m, true)
}

func (c *Cipher) walk(branches []tree.Branch, m *metadata.Metadata, seal bool) (string, error) {
	w := &walker{c: c, rule: newRule(m), mac: sha512.New(), onlySealed: m.MACOnlyEncrypted, seal: seal}
	if w.onlySealed {
		w.mac.Write(macOnlyEncrypted)
	}
	for _, b := range branches {
		w.path = w.path[:0]
		if err := w.branch(b, place{}); err != nil {
			return "", &Error{strings.ReplaceAll(strings.TrimSuffix(string(w.path), ":"), ":", "."), err}
		}
	}
	return strings.ToUpper(hex.EncodeToString(w.mac.Sum(nil))), nil
}

func (w *walker) branch(b tree.Branch, at place) error {
	over := comments{rule: w.rule, at: at}
	for i := range b {
		item := &b[i]
		if c, ok := item.Key.(tree.Comment); ok {
			v, err := w.comment(c, over.comment(c.Text))
			if err != nil {
				return err
			}
			switch v := v.(type) {
			case tree.Comment:
				item.Key = v
			case string:
				item.Key = tree.Comment{Text: v, Inline: c.Inline}
			default:
				return errType
			}
			continue
		}
		key, ok := item.Key.(string)
		if !ok {
			return errKey
		}
		mark := len(w.path)
		w.path = append(append(w.path, key...), ':')
		v, err := w.value(item.Value, w.rule.under(over.next(), key))
		if err != nil {
			return err // the path stays, for the message
		}
		item.Value, w.path = v, w.path[:mark]
		over.passed()
	}
	return nil
}

func (w *walker) list(list []any, at place) error {
	over := comments{rule: w.rule, at: at}
	for i, item := range list {
		var err error
		if c, ok := item.(tree.Comment); ok {
			list[i], err = w.comment(c, over.comment(c.Text))
		} else {
			list[i], err = w.value(item, over.next())
			over.passed()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// comment encrypts or decrypts a comment; what cannot be decrypted was never encrypted. Comments are no part of the MAC.
func (w *walker) comment(c tree.Comment, at place) (any, error) {
	if !w.rule.chooses(at) {
		return c, nil
	}
	if !w.seal {
		if v, err := w.c.Decrypt(c.Text, w.where()); err == nil {
			return v, nil
		}
		return c, nil
	}
	text, err := w.c.Encrypt(c, w.where())
	if err == nil && w.rule.unencComment != nil && w.rule.unencComment.MatchString(text) {
		err = errComment // it would not be found again
	}
	return text, err
}

func (w *walker) value(v any, at place) (any, error) {
	switch in := v.(type) {
	case tree.Branch:
		return in, w.branch(in, at)
	case []any:
		return in, w.list(in, at)
	case nil:
		return nil, nil // there is nothing to encrypt
	}
	sealed := w.rule.chooses(at)
	if sealed && !w.seal {
		text, ok := v.(string)
		if !ok {
			return nil, errPlain
		}
		var err error
		if v, err = w.c.Decrypt(text, w.where()); err != nil {
			return nil, err
		}
	}
	if sealed || !w.onlySealed {
		_, plain, err := w.c.bytes(v)
		if err != nil {
			return nil, err
		}
		w.mac.Write(plain)
	}
	if !sealed || !w.seal {
		return v, nil
	}
	return w.c.Encrypt(v, w.where())
}

// where is what a value is bound to.
func (w *walker) where() []byte {
	if len(w.path) == 0 {
		return []byte{':'}
	}
	return w.path
}
