// Package metadata reads and writes what a SOPS document says about itself: recipients, the rule of what is encrypted,
// MAC and time. In YAML and JSON it is a mapping, in INI a section and in dotenv lines with a prefix, both flattened.
//
// It stands beside package tree, in whose values it reads and writes. It reads what sops 3.13 reads, types converted where
// that converts them and unknown fields passed over, and writes what that writes, byte for byte, but for this: it tells
// which field is wrong, and never what it holds. Whether a document may be opened or sealed is not its business.
package metadata

import (
	"errors"
	"time"

	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// Key is the name of the entry, or of the INI section, that holds the metadata; Prefix begins its lines in dotenv.
const (
	Key    = "sops"
	Prefix = Key + "_"
)

// DefaultUnencryptedSuffix is the rule of documents that name none.
const DefaultUnencryptedSuffix = "_unencrypted"

// Metadata is what a document says about itself. At most one of the six rules is set.
type Metadata struct {
	LastModified              time.Time
	UnencryptedSuffix         string
	EncryptedSuffix           string
	UnencryptedRegex          string
	EncryptedRegex            string
	UnencryptedCommentRegex   string
	EncryptedCommentRegex     string
	MessageAuthenticationCode string // encrypted, as it stands in the document
	MACOnlyEncrypted          bool
	Version                   string
	KeyGroups                 []recipient.Group
	ShamirThreshold           int // how many of several groups are needed
}

// Recipients counts the recipients of all groups.
func (m *Metadata) Recipients() (n int) {
	for _, g := range m.KeyGroups {
		n += len(g)
	}
	return n
}

// Rules lists the rules that are set, as name and value.
func (m *Metadata) Rules() (set [][2]string) {
	for _, r := range [][2]string{
		{"unencrypted_suffix", m.UnencryptedSuffix}, {"encrypted_suffix", m.EncryptedSuffix},
		{"unencrypted_regex", m.UnencryptedRegex}, {"encrypted_regex", m.EncryptedRegex},
		{"unencrypted_comment_regex", m.UnencryptedCommentRegex}, {"encrypted_comment_regex", m.EncryptedCommentRegex},
	} {
		if r[1] != "" {
			set = append(set, r)
		}
	}
	return set
}

// Why metadata cannot be used.
var (
	ErrMissing      = errors.New("there is no sops metadata")
	ErrNoRecipients = errors.New("its metadata lists no recipient: nobody can decrypt it")
	ErrRules        = errors.New("its metadata has more than one rule of what is encrypted")
	ErrNotMapping   = errors.New("its sops entry is not a mapping")
	ErrTwice        = errors.New("its sops entry stands twice")
	ErrTime         = errors.New("its metadata holds a time that is not RFC 3339: lastmodified or a recipient's created_at")
	ErrFlat         = errors.New("its metadata's lines contradict each other, or one is missing")
)

// A FieldError names a field that holds something of another kind than belongs there.
type FieldError struct{ Field string }

// Error names the field.
func (e *FieldError) Error() string { return "its metadata's field " + e.Field + " is not of its kind" }
