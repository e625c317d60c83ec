package keyring

import (
	"bytes"
	"errors"

	"filippo.io/age"
)

// lockedAge is a file of age identities that is itself encrypted with a passphrase. The passphrase is asked for when a
// document has to be opened with it, and once.
type lockedAge struct {
	contents   []byte
	passphrase func() (string, error)
	ids        []age.Identity
}

// Unwrap implements age.Identity.
func (l *lockedAge) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if l.ids == nil {
		if err := l.unlock(); err != nil {
			return nil, err
		}
	}
	for _, id := range l.ids {
		key, err := id.Unwrap(stanzas)
		if !errors.Is(err, age.ErrIncorrectIdentity) {
			return key, err
		}
	}
	return nil, age.ErrIncorrectIdentity
}

func (l *lockedAge) unlock() error {
	plain, err := age.Decrypt(bytes.NewReader(l.contents), askedAge{l.passphrase})
	if err != nil {
		return errors.New("the file of identities cannot be decrypted with that passphrase")
	}
	ids, err := age.ParseIdentities(plain)
	if err != nil { // the parser quotes
		return errors.New("the file of identities holds a line that is none")
	}
	l.ids = ids
	return nil
}

// askedAge asks for a passphrase only where one is wanted.
type askedAge struct{ passphrase func() (string, error) }

// Unwrap implements age.Identity.
func (a askedAge) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) != 1 || stanzas[0].Type != "scrypt" { // age forbids others beside it
		return nil, age.ErrIncorrectIdentity
	}
	word, err := a.passphrase()
	if err != nil {
		return nil, err
	}
	id, err := age.NewScryptIdentity(word)
	if err != nil {
		return nil, err
	}
	return id.Unwrap(stanzas)
}
