package secrets

import (
	"bytes"
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/secrets/rules"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// Encrypt seals a plain file. found says that the file was met in a folder rather than named: then only Secrets, and
// files that are no Kubernetes manifests but fall under a rule, are sealed, and what is sealed already is passed over.
func (e *Engine) Encrypt(ctx context.Context, path string, data []byte, found bool) (Output, error) {
	in, out := e.formats(path)
	kubernetes, secret := manifests(data, in)
	sealed := sops.IsEncrypted(e.name(path), data)
	if found && (sealed || kubernetes && !secret) {
		return Output{}, nil
	}
	if err := readable(path, data, in); err != nil {
		return Output{}, err
	}
	rule, ind, err := e.rule(path)
	if err != nil {
		return Output{}, err
	}
	if found && rule == nil && !secret {
		return Output{}, nil
	}
	o, tell, err := e.sealOptions(path, rule, in, secret)
	if err != nil {
		return Output{}, err
	}
	o.Output, o.Indents = out, ind
	differs, err := e.enforce(path, rule, metadataOf(o))
	if err != nil {
		return Output{}, err
	}
	result, err := sops.Seal(ctx, data, in, o)
	if err != nil {
		return Output{}, err
	}
	return e.result(path, rule, metadataOf(o), data, result, out, "encrypted", append(tell, differs...))
}

// sealOptions are the recipients and the selection of a new document: from the command line, else from the rule.
func (e *Engine) sealOptions(path string, rule *rules.Rule, f sops.Format, secret bool) (sops.SealOptions, []string, error) {
	o := sops.SealOptions{Wrap: e.Wrap, Shared: e.Shared, Clock: e.now, Path: path, ShamirThreshold: e.Shamir}
	var tell []string
	s := e.Select.orRule(rule)
	switch {
	case f == sops.Binary:
		if !e.Select.empty() {
			tell = append(tell, "a binary file is one value, which is always encrypted: the choice of values is ignored")
		}
		s = Selection{}
	case secret && s.empty() && rule == nil:
		s.EncryptedRegex = secretValues
		tell = append(tell, "no rule says what to encrypt: as for every Kubernetes Secret, the values under data and stringData are ("+secretValues+")")
	case secret && s.empty():
		tell = append(tell, fmt.Sprintf("the rule at %s encrypts every value of the Secret, its kind and name too: add encrypted_regex: %s there", place(rule), secretValues))
	}
	o.EncryptedRegex, o.UnencryptedRegex = s.EncryptedRegex, s.UnencryptedRegex
	o.EncryptedSuffix, o.UnencryptedSuffix = s.EncryptedSuffix, s.UnencryptedSuffix
	o.EncryptedCommentRegex, o.UnencryptedCommentRegex = s.EncryptedCommentRegex, s.UnencryptedCommentRegex
	o.MACOnlyEncrypted = s.MACOnlyEncrypted
	if e.Shared != nil {
		return o, tell, nil
	}
	if e.Groups != nil { // anew for each file: wrapping writes into them
		groups, err := e.Groups()
		if err != nil {
			return o, nil, err
		}
		o.Recipients = groups
	}
	if rule != nil {
		if e.Groups == nil {
			o.Recipients = rule.Groups
		}
		if o.ShamirThreshold == 0 {
			o.ShamirThreshold = rule.ShamirThreshold
		}
	}
	if o.ShamirThreshold > 0 && len(o.Recipients) <= 1 {
		o.ShamirThreshold = 0
	}
	if count(metadataOf(o)) == 0 {
		return o, nil, e.nobody(path, rule)
	}
	return o, tell, nil
}

// nobody explains that no recipient is known.
func (e *Engine) nobody(path string, rule *rules.Rule) error {
	f := &fault.Fault{Code: "SLU-SECRET-003", Hop: fault.HopSOPS, File: path, Seen: "nobody is named who should be able to decrypt it", Exit: exitGeneric,
		Fix: "name a recipient: sluice secrets encrypt --age age1… or --azure-kv https://VAULT.vault.azure.net/keys/NAME, or add a rule to .sops.yaml"}
	config, _ := e.Config.For(e.name(path))
	switch {
	case rule != nil:
		f.Why = fmt.Sprintf("the rule at %s lists no recipient", place(rule))
	case config != nil:
		f.Why = fmt.Sprintf("%s has %d rules, and the path_regex of none matches the file", config.Path, config.Len())
		f.Fix = "correct a path_regex in " + config.Path + ", or name a recipient: --age age1…"
	default:
		f.Why = "there is no .sops.yaml in this folder or above it, and no flag names one"
	}
	return f
}

func metadataOf(o sops.SealOptions) *sops.Metadata {
	m := &sops.Metadata{EncryptedRegex: o.EncryptedRegex, UnencryptedRegex: o.UnencryptedRegex, EncryptedSuffix: o.EncryptedSuffix,
		UnencryptedSuffix: o.UnencryptedSuffix, EncryptedCommentRegex: o.EncryptedCommentRegex, UnencryptedCommentRegex: o.UnencryptedCommentRegex,
		MACOnlyEncrypted: o.MACOnlyEncrypted, KeyGroups: o.Recipients, ShamirThreshold: o.ShamirThreshold}
	if o.Shared != nil {
		m.KeyGroups, m.ShamirThreshold = o.Shared.Recipients()
	}
	return m
}

func count(m *sops.Metadata) int { return m.Recipients() }

// readable refuses what would otherwise fail with a parser's words: marks that a merge left, and bytes that are no text.
func readable(path string, data []byte, f sops.Format) error {
	if f == sops.Binary {
		return nil
	}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		for _, mark := range []string{"<<<<<<< ", ">>>>>>> ", "||||||| "} {
			if bytes.HasPrefix(text, []byte(mark)) {
				return secretFault("004", fmt.Sprintf("%s:%d", path, line), "a merge left its conflict marks",
					"two versions of the file stand in each other", "resolve the conflict: git checkout --ours "+path+" (or --theirs), then make the other side's change again", 2)
			}
		}
		if !utf8.Valid(text) {
			return secretFault("005", fmt.Sprintf("%s:%d", path, line), "the line is not UTF-8 text",
				fmt.Sprintf("%s is text", f), "convert the file: iconv -f latin1 -t utf-8; or seal it whole: --input-type binary", 2)
		}
	}
	return nil
}
