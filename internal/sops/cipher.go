package sops

import (
	"errors"
	"strings"

	"github.com/getsops/sops/v3/aes"
)

// cipher is the library's AES-GCM cipher with silent errors. The library's own quote the value: what fails to parse as
// a number is printed, and so is a plain value where an encrypted one was expected.
type cipher struct {
	aes    aes.Cipher
	failed string // where the last value that could not be decrypted stands, "data.password"
}

var errValue = errors.New("value cannot be decrypted")

func newCipher() *cipher { return &cipher{aes: aes.NewCipher()} }

// Decrypt implements the library's Cipher. where is the path of the value, its keys each followed by a colon.
func (c *cipher) Decrypt(ciphertext string, key []byte, where string) (any, error) {
	v, err := c.aes.Decrypt(ciphertext, key, where)
	if err != nil {
		c.failed = strings.ReplaceAll(strings.TrimSuffix(where, ":"), ":", ".")
		return nil, errValue
	}
	return v, nil
}

// Encrypt implements the library's Cipher.
func (c *cipher) Encrypt(plaintext any, key []byte, where string) (string, error) {
	s, err := c.aes.Encrypt(plaintext, key, where)
	if err != nil {
		c.failed = strings.ReplaceAll(strings.TrimSuffix(where, ":"), ":", ".")
		return "", errValue
	}
	return s, nil
}
