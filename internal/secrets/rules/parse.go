package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

const (
	maxSize  = 1 << 20 // bytes of a .sops.yaml
	maxDepth = 50      // of groups merged into groups, aliases followed
)

// Parse reads rules. path is where they stand: it names the file in faults, and For is relative to its folder.
//
// Its error is one *fault.Fault of hop "usage" that names every line at fault, the first one in File as path:line.
func Parse(path string, data []byte) (f *File, err error) {
	p := &parser{path: path}
	// The YAML parser has panicked on forged input before.
	defer func() {
		if recover() != nil {
			f, err = nil, p.fail(0, "it is not valid YAML")
		}
	}()
	if len(data) > maxSize {
		return nil, p.fail(0, fmt.Sprintf("it has %d bytes, and %d is the most that is read", len(data), maxSize))
	}
	root, err := p.document(data)
	if err != nil {
		return nil, err
	}
	f = &File{Path: path, Stores: Stores{JSONIndent: -1, JSONBinaryIndent: -1}}
	if root != nil {
		p.file(root, f)
	}
	if len(p.problems) > 0 {
		return nil, p.fault()
	}
	return f, nil
}

// parser collects what is wrong, so that one run tells everything.
type parser struct {
	path     string
	problems []problem
}

type problem struct {
	line int
	text string
}

func (p *parser) add(line int, format string, args ...any) {
	p.problems = append(p.problems, problem{line, fmt.Sprintf(format, args...)})
}

func (p *parser) fail(line int, text string) error {
	p.problems = []problem{{line, text}}
	return p.fault()
}

func (p *parser) fault() error {
	slices.SortStableFunc(p.problems, func(a, b problem) int { return a.line - b.line })
	f := &fault.Fault{Code: "SLU-RULES-002", Hop: fault.HopUsage, File: p.path, Why: "rules that are read otherwise than they were meant would seal less, or for others, than their author believes",
		Fix: "correct the file; https://getsops.io/docs/#using-sops-yaml-conf-to-select-kms-pgp-for-new-files describes the fields"}
	if first := p.problems[0]; first.line > 0 {
		f.File += ":" + strconv.Itoa(first.line)
	}
	texts := []string{p.problems[0].text}
	for _, other := range p.problems[1:] {
		texts = append(texts, fmt.Sprintf("line %d: %s", other.line, other.text))
	}
	f.Seen = strings.Join(texts, "; ")
	return f
}

var yamlLine = lazyregexp.New(`\bline (\d+)`)

// document returns the root of the one YAML document, nil for an empty file.
func (p *parser) document(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		line := 0
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1])
		}
		return nil, p.fail(line, "it is not valid YAML")
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, p.fail(more.Line, "there is a second document, which sops does not read")
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	root := resolve(doc.Content[0])
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	return root, nil
}

func (p *parser) file(root *yaml.Node, f *File) {
	p.fields(root, "the file", map[string]func(*yaml.Node){
		"creation_rules": func(n *yaml.Node) {
			for _, item := range p.list(n, "creation_rules") {
				f.rules = append(f.rules, p.rule(item))
			}
		},
		"destination_rules": func(n *yaml.Node) {
			for _, item := range p.list(n, "destination_rules") {
				p.destination(item)
			}
		},
		"stores": func(n *yaml.Node) { p.stores(n, &f.Stores) },
	}, func(key, value *yaml.Node) bool { return hasAnchor(value) })
}

func (p *parser) stores(n *yaml.Node, s *Stores) {
	nothing := func(n *yaml.Node) { p.fields(n, "the format", nil, nil) }
	indent := func(into *int) func(*yaml.Node) {
		return func(n *yaml.Node) {
			p.fields(n, "the format", map[string]func(*yaml.Node){"indent": func(n *yaml.Node) { p.number(n, into) }}, nil)
		}
	}
	p.fields(n, "stores", map[string]func(*yaml.Node){
		"yaml": indent(&s.YAMLIndent), "json": indent(&s.JSONIndent), "json_binary": indent(&s.JSONBinaryIndent),
		"dotenv": nothing, "ini": nothing,
	}, nil)
}

// destination looks at names only: publishing is not done here.
func (p *parser) destination(n *yaml.Node) {
	known := map[string]func(*yaml.Node){"recreation_rule": func(n *yaml.Node) { p.rule(n) }}
	for _, name := range []string{"path_regex", "s3_bucket", "s3_prefix", "gcs_bucket", "gcs_prefix", "vault_path", "vault_address",
		"vault_kv_mount_name", "vault_kv_version", "omit_extensions"} {
		known[name] = func(*yaml.Node) {}
	}
	p.fields(n, "the destination rule", known, nil)
}

// rule reads an entry of creation_rules.
func (p *parser) rule(n *yaml.Node) *creation {
	c := &creation{Rule: Rule{File: p.path, Line: n.Line}}
	g := groupSpec{line: n.Line}
	var (
		profile string
		grouped bool
		pattern string
	)
	known := map[string]func(*yaml.Node){
		"path_regex": func(n *yaml.Node) {
			p.text(n, &pattern)
			if pattern != "" {
				c.matches = p.regexp(n, pattern)
			}
		},
		"aws_profile":        func(n *yaml.Node) { p.text(n, &profile) },
		"shamir_threshold":   func(n *yaml.Node) { p.number(n, &c.ShamirThreshold) },
		"mac_only_encrypted": func(n *yaml.Node) { p.boolean(n, &c.MACOnlyEncrypted) },
		"key_groups": func(n *yaml.Node) {
			for _, item := range p.list(n, "key_groups") {
				grouped = true
				c.groups = append(c.groups, p.group(item, 0))
			}
		},
	}
	for name, into := range map[string]*[]string{"age": &g.age, "pgp": &g.pgp, "gcp_kms": &g.gcpKMS, "hckms": &g.hcKMS,
		"azure_keyvault": &g.azure, "hc_vault_transit_uri": &g.vault, "kms": &g.kmsARNs} {
		known[name] = func(n *yaml.Node) { p.strings(n, into, true) }
	}
	selectors := map[string]*string{"encrypted_regex": &c.EncryptedRegex, "unencrypted_regex": &c.UnencryptedRegex,
		"encrypted_suffix": &c.EncryptedSuffix, "unencrypted_suffix": &c.UnencryptedSuffix,
		"encrypted_comment_regex": &c.EncryptedCommentRegex, "unencrypted_comment_regex": &c.UnencryptedCommentRegex}
	for name, into := range selectors {
		known[name] = func(n *yaml.Node) {
			p.text(n, into)
			if strings.HasSuffix(name, "regex") {
				p.regexp(n, *into)
			}
		}
	}
	p.fields(n, "the rule", known, nil)
	set := 0
	for _, s := range selectors {
		if *s != "" {
			set++
		}
	}
	if set > 1 {
		p.add(n.Line, "the rule has more than one of the encrypted and unencrypted regexes and suffixes, and sops takes one")
	}
	if !grouped {
		g.profile = profile
		c.groups = []groupSpec{g}
	}
	if c.ShamirThreshold < 0 || len(c.groups) > 1 && (c.ShamirThreshold == 1 || c.ShamirThreshold > len(c.groups)) {
		p.add(n.Line, "shamir_threshold %d does not go with %d key groups: it is 2 to their number", c.ShamirThreshold, len(c.groups))
	}
	for _, g := range c.groups {
		p.checkGroup(g)
	}
	return c
}

func (p *parser) regexp(n *yaml.Node, text string) *regexp.Regexp {
	re, err := regexp.Compile(text)
	if err != nil {
		p.add(n.Line, "%q is no regular expression of Go's: %v", text, err)
	}
	return re
}
