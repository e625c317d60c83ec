// Package secrets is what `sluice secrets` does to SOPS files: seal, open, change a value, rotate keys, follow the rules
// of .sops.yaml. Verbs take a file's bytes and give bytes; package files reads and writes, package scratch lends an
// editor memory, package cli has flags and tables.
//
// It stands on package sops for documents, on a Keyring for data keys, and on package rules for what the repository says
// about a file. SOPS's MAC covers neither what is to be encrypted nor for whom, so every verb that seals holds the
// document against the repository's .sops.yaml first, and refuses one that seals less or for somebody who is not listed,
// unless it was told otherwise.
//
// It refuses to write a file that upstream sops could not read, and to put plaintext anywhere but where the user asked
// for it. No fault of it quotes a value.
package secrets

import (
	"bytes"
	"context"
	"path/filepath"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/secrets/rules"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// Engine holds what is the same for all files of one command. It is safe for concurrent use.
type Engine struct {
	Keys sops.Keyring
	// Wrap encrypts data keys for recipients: sops.SealOptions.Wrap.
	Wrap func(ctx context.Context, recipient recipient.Key, dataKey []byte) (enc []byte, handled bool, err error)

	Config  *Config // where .sops.yaml is found; nil: there is none
	Groups  func() ([]recipient.Group, error)
	Shamir  int         // threshold from the command line; 0: the rule's
	Select  Selection   // what to encrypt, from the command line
	In, Out sops.Format // --input-type, --output-type; empty: by the file's name
	Name    string      // --filename-override: stands for the file's name in rules and formats
	Indent  *int        // --indent; nil: the rules' stores
	MAC     sops.MACPolicy
	Shared  *sops.SharedKey  // encrypt --like
	Clock   func() time.Time // nil: time.Now

	AllowNarrower, AllowUnlisted bool
}

// Selection is which values are encrypted: the fields of .sops.yaml.
type Selection struct {
	EncryptedRegex, UnencryptedRegex               string
	EncryptedSuffix, UnencryptedSuffix             string
	EncryptedCommentRegex, UnencryptedCommentRegex string
	MACOnlyEncrypted                               bool
}

func (s Selection) empty() bool { return s == Selection{MACOnlyEncrypted: s.MACOnlyEncrypted} }

// orRule fills each field that the command line leaves open, as sops does.
func (s Selection) orRule(r *rules.Rule) Selection {
	if r == nil {
		return s
	}
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&s.EncryptedRegex, r.EncryptedRegex}, {&s.UnencryptedRegex, r.UnencryptedRegex},
		{&s.EncryptedSuffix, r.EncryptedSuffix}, {&s.UnencryptedSuffix, r.UnencryptedSuffix},
		{&s.EncryptedCommentRegex, r.EncryptedCommentRegex}, {&s.UnencryptedCommentRegex, r.UnencryptedCommentRegex},
	} {
		if *f.to == "" {
			*f.to = f.from
		}
	}
	s.MACOnlyEncrypted = s.MACOnlyEncrypted || r.MACOnlyEncrypted
	return s
}

// name is the file's name for rules and formats.
func (e *Engine) name(path string) string {
	if e.Name != "" {
		return e.Name
	}
	return path
}

func (e *Engine) formats(path string) (in, out sops.Format) {
	in, out = sops.FormatFor(e.name(path)), sops.FormatFor(e.name(path))
	if e.In != "" {
		in = e.In
	}
	if e.Out != "" {
		out = e.Out
	}
	return in, out
}

func (e *Engine) now() time.Time {
	if e.Clock != nil {
		return e.Clock()
	}
	return time.Now()
}

// rule is the creation rule of a file, nil if none covers it, with the indents of its .sops.yaml.
func (e *Engine) rule(path string) (*rules.Rule, sops.Indents, error) {
	var in sops.Indents
	f, err := e.Config.For(e.name(path))
	if err != nil {
		return nil, in, err
	}
	var rule *rules.Rule
	if f != nil {
		in = indents(f.Stores)
		abs, err := filepath.Abs(e.name(path))
		if err != nil {
			return nil, in, err
		}
		if rule, err = f.For(abs); err != nil {
			return nil, in, err
		}
	}
	if e.Indent != nil {
		n := *e.Indent
		in = sops.Indents{YAML: n, JSON: n, Binary: n}
		if n == 0 {
			in.JSON, in.Binary = -1, -1
		}
	}
	return rule, in, nil
}

// indents turns rules' settings, where JSON's default is -1 and 0 is none, into sops's, where it is the other way round.
func indents(s rules.Stores) sops.Indents {
	flip := func(n int) int {
		switch n {
		case -1:
			return 0
		case 0:
			return -1
		}
		return n
	}
	return sops.Indents{YAML: s.YAMLIndent, JSON: flip(s.JSONIndent), Binary: flip(s.JSONBinaryIndent)}
}

// Output is a verb's product.
type Output struct {
	Data []byte   // what to write; nil: the file stays as it is
	Did  string   // "encrypted"; empty: the verb does not apply
	Tell []string // what the user should know besides
}

// lineEnds gives out the line ends of in, where the format's readers do not care: YAML and JSON.
func lineEnds(in, out []byte, f sops.Format) []byte {
	if f != sops.YAML && f != sops.JSON {
		return out
	}
	if n := bytes.Count(in, []byte("\n")); n == 0 || bytes.Count(in, []byte("\r\n")) != n {
		return out
	}
	return bytes.ReplaceAll(out, []byte("\n"), []byte("\r\n"))
}

// exitGeneric is sops's exit code for what has none of its own.
const exitGeneric = 1

func secretFault(number, path, seen, why, fix string, exit int) *fault.Fault {
	return &fault.Fault{Code: "SLU-SECRET-" + number, Hop: fault.HopSOPS, File: path, Seen: seen, Why: why, Fix: fix, Exit: exit}
}
