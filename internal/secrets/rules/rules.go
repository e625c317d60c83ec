// Package rules reads .sops.yaml, says which of its creation rules a file falls under, and judges sealed documents
// against that rule.
//
// It stands beside package sops, which opens and seals: sops takes a document at its word about what is encrypted and
// for whom, because SOPS's MAC covers neither; this package knows what the repository says about it. The commands that
// seal ask it before they write, `secrets check` and the controller's --sops-policy afterwards.
//
// It refuses fields that sops doesn't know, which sops itself ignores: a misspelt encrypted_regex would otherwise seal
// less than its author meant. The one exception is a field of the top level that holds YAML anchors, the customary
// place for lists of recipients. It reads no key, asks no cloud, and no fault of it quotes a recipient: people paste
// private keys by mistake.
package rules

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// Name is the file that rules stand in.
const Name = ".sops.yaml"

// maxFolders is how far up Find looks, as sops does.
const maxFolders = 100

// File is a .sops.yaml. It is safe for concurrent use.
type File struct {
	// Path is where the file was read from, as it was given.
	Path   string
	Stores Stores
	rules  []*creation
}

// Stores are the settings of the formats: spaces of one level. Zero is the default of YAML, -1 that of JSON.
type Stores struct{ YAMLIndent, JSONIndent, JSONBinaryIndent int }

// Rule is what a file is to be sealed with. At most one of the regexes and suffixes is set; none means that every value
// is sealed but those under keys that end in _unencrypted.
type Rule struct {
	File string // the .sops.yaml that the rule stands in
	Line int    // where the rule begins

	// Groups are new with every call of For, so that a sealer may write what it wrapped into them. There is one group
	// without members when the rule names no recipient.
	Groups          []recipient.Group
	ShamirThreshold int // 0: all groups

	EncryptedRegex          string
	UnencryptedRegex        string
	EncryptedSuffix         string
	UnencryptedSuffix       string
	EncryptedCommentRegex   string
	UnencryptedCommentRegex string
	MACOnlyEncrypted        bool
}

// creation is an entry of creation_rules.
type creation struct {
	Rule    // without Groups
	matches *regexp.Regexp
	groups  []groupSpec
}

// Find looks for .sops.yaml in the folder start, or in the folder of the file start, and upwards. The path it returns
// is absolute.
func Find(start string) (path string, ok bool) {
	dir, err := filepath.Abs(start)
	if err != nil {
		return "", false
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir = filepath.Dir(dir)
	}
	for range maxFolders {
		path = filepath.Join(dir, Name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, true
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	return "", false
}

// Load reads the .sops.yaml at path. A file that is not there is a fault of exit code 61, which is sops's.
func Load(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		f := &fault.Fault{Code: "SLU-RULES-001", Hop: fault.HopUsage, File: path, Seen: "the rules cannot be read", Why: reason(err),
			Fix: "sluice secrets init", Exit: 61, Err: err}
		return nil, f
	}
	return Parse(path, data)
}

// reason is an error of the file system without the path, which the fault names anyway.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// For returns the rule of the file at path: the first whose path_regex matches, or which has none. It returns nil and
// no error if there is no such rule.
//
// As in sops, the expression is held against the path relative to the folder of the .sops.yaml, with slashes, and
// against the whole path of a file outside it. path and File.Path must be told alike: both absolute, or both relative
// to the same folder; if only one of them is absolute, the other one is taken from the working directory.
func (f *File) For(path string) (*Rule, error) {
	rel, err := f.relative(path)
	if err != nil {
		return nil, err
	}
	for _, c := range f.rules {
		if c.matches != nil && !c.matches.MatchString(rel) {
			continue
		}
		r := c.Rule
		if r.Groups, err = buildGroups(c.groups); err != nil {
			return nil, err // Parse has built them once, so this does not happen
		}
		return &r, nil
	}
	return nil, nil
}

// Len is how many creation rules there are.
func (f *File) Len() int { return len(f.rules) }

func (f *File) relative(path string) (string, error) {
	config := f.Path
	if filepath.IsAbs(config) != filepath.IsAbs(path) {
		var err error
		if config, err = filepath.Abs(config); err != nil {
			return "", err
		}
		if path, err = filepath.Abs(path); err != nil {
			return "", err
		}
	}
	dir := filepath.Clean(filepath.Dir(config))
	path = filepath.Clean(path)
	switch {
	case dir == ".":
	case strings.HasSuffix(dir, string(filepath.Separator)): // the root
		path = strings.TrimPrefix(path, dir)
	default:
		path = strings.TrimPrefix(path, dir+string(filepath.Separator))
	}
	return filepath.ToSlash(path), nil
}
