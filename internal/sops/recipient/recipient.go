// Package recipient names those for whom a SOPS document is sealed: one type for each kind of key, with the fields that
// sops keeps of it, and the notations in which flags, environment and .sops.yaml name them.
//
// It stands below every package that reads or writes metadata. It knows names and wrapped keys only: it asks no service,
// reads no file and opens nothing. The one thing it does with a key is to wrap for an age recipient, whose name is the
// public key.
package recipient

import (
	"slices"
	"strings"
	"time"
)

// Key is one recipient with its copy of the data key, or of the part of it that its group has.
type Key interface {
	// Kind is sops's identifier of the kind: "age", "pgp", "azure_kv", "kms", "gcp_kms", "hc_vault" or "hckms".
	Kind() string
	// String is the recipient's public name, as sops prints it.
	String() string
	// Wrapped is the data key as the document stores it (enc), empty before it was wrapped.
	Wrapped() []byte
	// SetWrapped replaces what Wrapped gives.
	SetWrapped(enc []byte)
}

// Group is a key group: any one of its recipients opens what it holds.
type Group []Key

// now is the time of creation that documents carry, in UTC.
func now() time.Time { return time.Now().UTC() }

// PGP is an OpenPGP key, by fingerprint or key id; a trailing ! picks a subkey.
type PGP struct {
	Fingerprint  string
	CreationDate time.Time
	EncryptedKey string // as the document stores it
}

// NewPGP names a key as of now.
func NewPGP(fingerprint string) *PGP {
	return &PGP{Fingerprint: strings.ReplaceAll(fingerprint, " ", ""), CreationDate: now()}
}

func (k *PGP) Kind() string          { return "pgp" }
func (k *PGP) Wrapped() []byte       { return []byte(k.EncryptedKey) }
func (k *PGP) SetWrapped(enc []byte) { k.EncryptedKey = string(enc) }
func (k *PGP) String() string        { return k.Fingerprint }

// GCPKMS is a key of Google Cloud KMS.
type GCPKMS struct {
	ResourceID   string // projects/…/cryptoKeys/NAME
	CreationDate time.Time
	EncryptedKey string // as the document stores it
}

// NewGCPKMS names a key as of now.
func NewGCPKMS(resourceID string) *GCPKMS {
	return &GCPKMS{ResourceID: strings.ReplaceAll(resourceID, " ", ""), CreationDate: now()}
}

func (k *GCPKMS) Kind() string          { return "gcp_kms" }
func (k *GCPKMS) Wrapped() []byte       { return []byte(k.EncryptedKey) }
func (k *GCPKMS) SetWrapped(enc []byte) { k.EncryptedKey = string(enc) }
func (k *GCPKMS) String() string        { return k.ResourceID }

// List splits a list with commas and makes a recipient of each entry that is not empty.
func List[K Key](text string, parse func(string) (K, error)) (Group, error) {
	var g Group
	for entry := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(entry) == "" {
			continue
		}
		k, err := parse(entry)
		if err != nil {
			return nil, err
		}
		g = append(g, k)
	}
	return g, nil
}

// Clone copies the list, not its keys.
func (g Group) Clone() Group { return slices.Clone(g) }
