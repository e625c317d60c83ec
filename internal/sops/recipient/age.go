package recipient

import (
	"bytes"
	"errors"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"filippo.io/age/plugin"
)

// Age is a recipient of age: an X25519 or hybrid key, a plugin's, or an SSH key.
type Age struct {
	Recipient    string
	EncryptedKey string // as the document stores it
}

// ErrAge says that a text names no age recipient. It does not quote the text: people paste private keys by mistake.
var ErrAge = errors.New("not an age recipient: it begins with age1, ssh-ed25519 or ssh-rsa")

// ParseAge reads a recipient's name.
func ParseAge(name string) (*Age, error) {
	name = strings.TrimSpace(name)
	if _, err := parseAge(name); err != nil {
		return nil, ErrAge
	}
	return &Age{Recipient: name}, nil
}

func (k *Age) Kind() string          { return "age" }
func (k *Age) Wrapped() []byte       { return []byte(k.EncryptedKey) }
func (k *Age) SetWrapped(enc []byte) { k.EncryptedKey = string(enc) }
func (k *Age) String() string        { return k.Recipient }

// Wrap encrypts a data key for the recipient and keeps the result. A plugin's recipient starts the plugin, which may talk
// to the person at the terminal.
func (k *Age) Wrap(dataKey []byte) error {
	to, err := parseAge(k.Recipient)
	if err != nil {
		return ErrAge
	}
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, to)
	if err == nil {
		_, err = w.Write(dataKey)
	}
	if err == nil {
		err = errors.Join(w.Close(), armored.Close())
	}
	if err != nil {
		return err
	}
	k.SetWrapped(out.Bytes())
	return nil
}

// parseAge tells the kinds apart by how they begin: a second 1 is what names a plugin.
func parseAge(name string) (age.Recipient, error) {
	switch {
	case strings.HasPrefix(name, "age1pq1"):
		return age.ParseHybridRecipient(name)
	case strings.HasPrefix(name, "age1") && strings.Count(name, "1") > 1:
		silent := func(string, ...any) {}
		return plugin.NewRecipient(name, plugin.NewTerminalUI(silent, silent))
	case strings.HasPrefix(name, "age1"):
		return age.ParseX25519Recipient(name)
	case strings.HasPrefix(name, "ssh-"):
		return agessh.ParseRecipient(name)
	}
	return nil, ErrAge
}
