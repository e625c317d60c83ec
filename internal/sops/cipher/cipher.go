// Package cipher encrypts and decrypts the values of a SOPS document: AES-256-GCM with a nonce of 32 bytes, each value
// bound to the path of its keys, written as ENC[AES256_GCM,data:…,iv:…,tag:…,type:…], and one MAC over all of them.
//
// It stands between the tree of a document and its data key, and chooses by the rule in the document's metadata which
// values are encrypted. It reads no format and asks for no key. Its errors say where a value stands, and never what it is,
// encrypted or not.
package cipher

import (
	"crypto/aes"
	stdcipher "crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

const (
	nonceSize = 32
	tagSize   = 16
	begin     = "ENC[AES256_GCM,data:"
)

// Cipher encrypts and decrypts values under one data key. It is for one goroutine.
type Cipher struct {
	block stdcipher.Block // nil: the key is none
	gcm   stdcipher.AEAD  // for nonces of nonceSize
	nonce map[value][nonceSize]byte
	buf   []byte // of the value at work
}

// value is a value in its place.
type value struct {
	plain any
	where string
}

// New returns the cipher of a data key. That a key is too short shows with the first value.
func New(key []byte) *Cipher {
	c := &Cipher{}
	if block, err := aes.NewCipher(key); err == nil {
		if gcm, err := stdcipher.NewGCMWithNonceSize(block, nonceSize); err == nil {
			c.block, c.gcm = block, gcm
		}
	}
	return c
}

// Remember makes the cipher keep the nonce of every value that it decrypts from now on, so that a value that is encrypted
// again unchanged, in its place, has the same ciphertext: a Git diff then shows what really changed.
func (c *Cipher) Remember() {
	if c.nonce == nil {
		c.nonce = map[value][nonceSize]byte{}
	}
}

var (
	errFormat = errors.New("not an encrypted value")
	errOpen   = errors.New("the ciphertext was changed, moved or encrypted under another key")
	errType   = errors.New("a value has no form for its type")
)

// Decrypt opens a value that stands at a place. Empty text is an empty value, which sops does not encrypt.
func (c *Cipher) Decrypt(text string, where []byte) (any, error) {
	if text == "" {
		return "", nil
	}
	if line := strings.IndexByte(text, '\n'); line >= 0 {
		text = text[:line]
	}
	data, rest, ok := cut(text, begin, ",iv:")
	if !ok {
		return nil, errFormat
	}
	iv, rest, ok := cut(rest, "", ",tag:")
	if !ok {
		return nil, errFormat
	}
	tag, rest, ok := cut(rest, "", ",type:")
	end := strings.LastIndexByte(rest, ']')
	if !ok || end <= 0 || c.block == nil {
		return nil, errFormat
	}
	nonce := c.decode(c.buf[:0], iv)
	n := len(nonce)
	sealed := c.decode(nonce, data)
	if n == 0 || sealed == nil {
		return nil, errFormat
	}
	both := c.decode(sealed, tag)
	if both == nil {
		return nil, errFormat
	}
	c.buf = both
	gcm := c.gcm
	if n != nonceSize {
		var err error
		if gcm, err = stdcipher.NewGCMWithNonceSize(c.block, n); err != nil {
			return nil, errFormat
		}
	}
	plain, err := gcm.Open(both[n:n], both[:n], both[n:], where)
	if err != nil {
		return nil, errOpen
	}
	v, err := typed(plain, rest[:end])
	if err == nil && c.nonce != nil && n == nonceSize {
		c.nonce[value{v, string(where)}] = [nonceSize]byte(both[:n])
	}
	return v, err
}

// cut takes what stands between a beginning and an end, which is not nothing.
func cut(s, begin, end string) (inside, rest string, ok bool) {
	s, begins := strings.CutPrefix(s, begin)
	inside, rest, ends := strings.Cut(s, end)
	return inside, rest, begins && ends && inside != ""
}

// decode appends what base64 text holds; nil if it is none.
func (c *Cipher) decode(to []byte, text string) []byte {
	n := len(to)
	need := base64.StdEncoding.DecodedLen(len(text))
	if cap(to)-n < need {
		to = append(make([]byte, 0, 2*(n+need)+nonceSize+tagSize), to...)
	}
	got, err := base64.StdEncoding.Decode(to[n:n+need], []byte(text))
	if err != nil {
		return nil
	}
	return to[:n+got]
}

// typed reads a decrypted value. What sops calls bytes it never writes, and cannot open again itself.
func typed(plain []byte, kind string) (any, error) {
	text := string(plain)
	switch kind {
	case "str":
		return text, nil
	case "int":
		if n, err := strconv.Atoi(text); err == nil {
			return n, nil
		}
	case "float":
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return f, nil
		}
	case "bool":
		if b, err := strconv.ParseBool(text); err == nil {
			return b, nil
		}
	case "time":
		var t time.Time
		if t.UnmarshalText(plain) == nil {
			return t, nil
		}
	case "comment":
		return tree.Comment{Text: text}, nil
	}
	return nil, errType
}

// Encrypt seals a value for a place. Empty text and empty comments stay empty.
func (c *Cipher) Encrypt(v any, where []byte) (string, error) {
	kind, plain, err := c.bytes(v)
	switch {
	case err != nil:
		return "", err
	case len(plain) == 0:
		return "", nil
	case c.block == nil:
		return "", errType
	}
	var nonce [nonceSize]byte
	known := false
	if c.nonce != nil {
		nonce, known = c.nonce[value{v, string(where)}]
	}
	if !known {
		if _, err := rand.Read(nonce[:]); err != nil {
			return "", err
		}
	}
	c.buf = c.gcm.Seal(plain[:0], nonce[:], plain, where)
	data, tag := c.buf[:len(c.buf)-tagSize], c.buf[len(c.buf)-tagSize:]
	out := make([]byte, 0, len(begin)+base64.StdEncoding.EncodedLen(len(data))+len(",iv:,tag:,type:]")+44+24+len(kind))
	out = base64.StdEncoding.AppendEncode(append(out, begin...), data)
	out = base64.StdEncoding.AppendEncode(append(out, ",iv:"...), nonce[:])
	out = base64.StdEncoding.AppendEncode(append(out, ",tag:"...), tag)
	out = append(append(append(out, ",type:"...), kind...), ']')
	return string(out), nil
}

// bytes gives a value's type and bytes, which are those of the MAC too, in the cipher's own buffer.
func (c *Cipher) bytes(v any) (kind string, plain []byte, err error) {
	b := c.buf[:0]
	switch v := v.(type) {
	case string:
		kind, b = "str", append(b, v...)
	case int:
		kind, b = "int", strconv.AppendInt(b, int64(v), 10)
	case float64:
		kind, b = "float", strconv.AppendFloat(b, v, 'f', -1, 64)
	case bool:
		if kind = "bool"; v { // as sops's first implementation, in Python, wrote them
			b = append(b, "True"...)
		} else {
			b = append(b, "False"...)
		}
	case time.Time:
		kind = "time"
		b, err = v.AppendText(b)
	case tree.Comment:
		kind, b = "comment", append(b, v.Text...)
	default:
		return "", nil, errType
	}
	if cap(b) < len(b)+tagSize {
		b = append(make([]byte, 0, 2*len(b)+tagSize), b...)
	}
	c.buf = b
	return kind, b, err
}
