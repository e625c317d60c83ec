package check

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/secrets/rules"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/metadata"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// encrypted is what a sealed value begins with.
const encrypted = "ENC[AES256_GCM,"

// selection says which values are to be sealed, with sops's own rules (`shouldBeEncrypted`).
type selection struct {
	field, value string
	re           *regexp.Regexp
}

func selectionOf(encryptedRegex, unencryptedRegex, encryptedSuffix, unencryptedSuffix, encryptedComment, unencryptedComment string) *selection {
	for _, s := range []selection{
		{field: "encrypted_regex", value: encryptedRegex}, {field: "unencrypted_regex", value: unencryptedRegex},
		{field: "encrypted_suffix", value: encryptedSuffix}, {field: "unencrypted_suffix", value: unencryptedSuffix},
		{field: "encrypted_comment_regex", value: encryptedComment}, {field: "unencrypted_comment_regex", value: unencryptedComment},
	} {
		if s.value == "" {
			continue
		}
		if strings.HasSuffix(s.field, "regex") {
			var err error
			if s.re, err = regexp.Compile(s.value); err != nil {
				return nil // sops takes it for one that matches nothing; rules.Narrower has spoken about it
			}
		}
		return &s
	}
	return &selection{field: "unencrypted_suffix", value: metadata.DefaultUnencryptedSuffix}
}

func ofDocument(m *sops.Metadata) *selection {
	return selectionOf(m.EncryptedRegex, m.UnencryptedRegex, m.EncryptedSuffix, m.UnencryptedSuffix, m.EncryptedCommentRegex, m.UnencryptedCommentRegex)
}

func ofRule(r *rules.Rule) *selection {
	return selectionOf(r.EncryptedRegex, r.UnencryptedRegex, r.EncryptedSuffix, r.UnencryptedSuffix, r.EncryptedCommentRegex, r.UnencryptedCommentRegex)
}

// wants says whether the value under these keys is to be sealed. comments are all that stand by it or above it; where a
// rule goes by comments, only those before the value count in sops, so a value with others is let pass.
func (s *selection) wants(keys, comments []string) bool {
	if s == nil {
		return false
	}
	in := keys
	if strings.Contains(s.field, "comment") {
		in = comments
	}
	hit := false
	for _, k := range in {
		if s.re != nil {
			hit = hit || s.re.MatchString(k)
		} else {
			hit = hit || strings.HasSuffix(k, s.value)
		}
	}
	return hit == strings.HasPrefix(s.field, "encrypted")
}

// plainValues finds values that the document's own rule wants sealed, which sops refuses to decrypt, and those that the
// repository's does.
func (p part) plainValues(name string, rule *rules.Rule) (out []Finding) {
	own := ofDocument(p.meta)
	var others *selection
	where := ""
	if rule != nil {
		where = fmt.Sprintf("%s:%d", rule.File, rule.Line)
	}
	switch {
	case rule == nil:
	case rule.Chooses():
		others = ofRule(rule)
	case p.node != nil && !rules.SameChoice(rule, p.meta):
		out = append(out, plainSecrets(name, where, p.node, 0)...)
	}
	p.walk(func(keys, comments []string, line int) {
		at := strings.Join(keys, ".")
		switch {
		case own.wants(keys, comments):
			out = append(out, finding(PlainValue, name, line, "the value of "+at+" is plain",
				"the document's own "+own.field+" wants it sealed: it was written without sops, and nothing can be decrypted until it is sealed", "sluice secrets edit --ignore-mac "+word(name)))
		case others.wants(keys, comments):
			out = append(out, finding(PlainValue, name, line, "the value of "+at+" is plain",
				where+" wants it sealed, by "+others.field+": "+others.value, fmt.Sprintf("sluice secrets decrypt -i %[1]s && sluice secrets encrypt -i %[1]s", word(name))))
		}
	})
	return out
}

// plainSecrets finds the plain values of Secrets in a sealed document whose rule lists recipients alone: any choice of
// values is right by that rule, but one that leaves out what a Secret is there for.
func plainSecrets(name, where string, n *yaml.Node, depth int) (out []Finding) {
	switch kind := text(child(n, "kind")); {
	case kind == "Secret" && text(child(n, "apiVersion")) == "v1":
		for _, field := range []string{"data", "stringData"} {
			values := child(n, field)
			if values == nil || values.Kind != yaml.MappingNode {
				continue
			}
			for i := 0; i+1 < len(values.Content); i += 2 {
				if v := text(follow(values.Content[i+1])); v != "" && !strings.HasPrefix(v, encrypted) && !variable.MatchString(v) {
					out = append(out, finding(PlainValue, name, values.Content[i].Line, "the value of "+field+"."+values.Content[i].Value+" is plain",
						"the document is a Secret, and "+where+" covers it without a choice of values, so data and stringData are to be sealed",
						fmt.Sprintf("sluice secrets decrypt -i %[1]s && sluice secrets encrypt -i --encrypted-regex '^(data|stringData)$' %[1]s", word(name))))
				}
			}
		}
	case strings.HasSuffix(kind, "List") && depth < maxLists:
		if items := child(n, "items"); items != nil && items.Kind == yaml.SequenceNode {
			for _, item := range items.Content {
				out = append(out, plainSecrets(name, where, follow(item), depth+1)...)
			}
		}
	}
	return out
}

// seals says whether any value, or comment, of the document is sealed.
func (p part) seals() bool {
	if p.node == nil {
		return strings.Contains(string(p.data), encrypted)
	}
	top, budget, found := follow(p.node), maxNodes, false
	for i := 0; top.Kind == yaml.MappingNode && i+1 < len(top.Content); i += 2 {
		found = found || top.Content[i].Value != "sops" && sealed(top.Content[i+1], &budget)
	}
	return found
}

func sealed(n *yaml.Node, budget *int) bool {
	if n = follow(n); n == nil {
		return false
	}
	if *budget--; *budget < 0 {
		return false
	}
	if n.Kind == yaml.ScalarNode && strings.HasPrefix(n.Value, encrypted) {
		return true
	}
	return slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return sealed(c, budget) })
}

// walk calls do for every plain value that sops would encrypt if its rule said so: not for null and not for "".
func (p part) walk(do func(keys, comments []string, line int)) {
	if p.node == nil {
		walkBranch(p.branch, nil, p.data, do)
		return
	}
	budget := maxNodes
	top := follow(p.node)
	if top.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(top.Content); i += 2 {
		if key := top.Content[i]; key.Value != "sops" {
			walkNode(top.Content[i+1], []string{key.Value}, notes(nil, key, top.Content[i+1]), &budget, do)
		}
	}
}

func walkNode(n *yaml.Node, keys, comments []string, budget *int, do func(keys, comments []string, line int)) {
	line := n.Line
	if n = follow(n); n == nil {
		return
	}
	if *budget--; *budget < 0 {
		return
	}
	switch n.Kind {
	case yaml.ScalarNode:
		if v := text(n); v != "" && !strings.HasPrefix(v, encrypted) {
			do(keys, comments, line)
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			walkNode(c, keys, notes(comments, c), budget, do)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			walkNode(v, append(keys[:len(keys):len(keys)], k.Value), notes(comments, k, v), budget, do)
		}
	}
}

// notes adds the nodes' comments to those above.
func notes(above []string, nodes ...*yaml.Node) []string {
	out := above[:len(above):len(above)]
	for _, n := range nodes {
		for _, c := range []string{n.HeadComment, n.LineComment, n.FootComment} {
			for line := range strings.Lines(c) {
				out = append(out, strings.TrimPrefix(strings.TrimSpace(line), "#"))
			}
		}
	}
	return out
}

func walkBranch(b tree.Branch, keys []string, data []byte, do func(keys, comments []string, line int)) {
	for _, item := range b {
		key, ok := item.Key.(string)
		if !ok {
			continue // a comment
		}
		path := append(keys[:len(keys):len(keys)], key)
		switch v := item.Value.(type) {
		case tree.Branch:
			walkBranch(v, path, data, do)
		case string:
			if v != "" && !strings.HasPrefix(v, encrypted) {
				do(path, nil, lineOfKey(data, key))
			}
		}
	}
}

// lineOfKey returns the line of a dotenv or INI file on which a key stands, 0 if there is none.
func lineOfKey(data []byte, key string) int {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if name, _, ok := bytes.Cut(line, []byte("=")); ok && string(bytes.TrimSpace(name)) == key {
			return n
		}
	}
	return 0
}
