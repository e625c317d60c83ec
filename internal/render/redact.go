package render

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

const redacted = "***"

// secretValues collects what must not be shown.
type secretValues struct {
	order [][]byte
	seen  map[string]bool
	vars  []string // values of substitution variables: hidden in our errors, the caller's to hide elsewhere
}

func (s *secretValues) add(value string) {
	if value == "" || s.seen[value] {
		return
	}
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	s.seen[value] = true
	s.order = append(s.order, []byte(value))
}

// addEncoded adds a value of a Secret's data: as it stands, and decoded.
func (s *secretValues) addEncoded(value string) {
	s.add(value)
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value)); err == nil {
		s.add(string(raw))
	}
}

func (s *secretValues) list() [][]byte { return s.order }

// addDocument adds what a SOPS document kept secret.
func (s *secretValues) addDocument(p string, u use, sealed, plain []byte) {
	if u == useSecretFile {
		s.add(string(plain)) // becomes one value of a Secret
	}
	switch path.Ext(p) {
	case ".yaml", ".yml", ".json":
		s.addNodes(sealed, plain)
	default:
		s.addLines(plain)
	}
}

// addNodes walks the sealed and the opened documents side by side: what was ENC[…] is secret.
func (s *secretValues) addNodes(sealed, plain []byte) {
	sealedDec, plainDec := yaml.NewDecoder(bytes.NewReader(sealed)), yaml.NewDecoder(bytes.NewReader(plain))
	for {
		var a, b yaml.Node
		errA := guard(func() error { return sealedDec.Decode(&a) })
		if err := guard(func() error { return plainDec.Decode(&b) }); err != nil {
			return
		}
		if errA != nil {
			a = yaml.Node{}
		}
		s.pair(&a, &b, 0)
	}
}

// pair compares two nodes of the same place. Where the sealed side has no counterpart, all of the plain side is secret: a
// document that changed its shape while it was opened is not one to trust.
func (s *secretValues) pair(a, b *yaml.Node, depth int) {
	if depth > 100 {
		return
	}
	switch b.Kind {
	case yaml.DocumentNode, yaml.SequenceNode:
		for i, child := range b.Content {
			s.pair(at(a, b.Kind, i), child, depth+1)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(b.Content); i += 2 {
			s.pair(valueOf(a, b.Content[i].Value), b.Content[i+1], depth+1)
		}
	case yaml.ScalarNode:
		if a == nil || a.Kind != yaml.ScalarNode || strings.HasPrefix(a.Value, "ENC[") {
			s.addEncoded(b.Value)
		}
	}
}

func at(n *yaml.Node, kind yaml.Kind, i int) *yaml.Node {
	if n == nil || n.Kind != kind || i >= len(n.Content) {
		return nil
	}
	return n.Content[i]
}

func valueOf(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// addLines adds what stands after "=" in dotenv and INI files, and every line of anything else.
func (s *secretValues) addLines(data []byte) {
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if _, value, ok := strings.Cut(line, "="); ok {
			line = strings.Trim(strings.TrimSpace(value), `"'`)
		}
		s.add(line)
	}
}

var (
	byteList = lazyregexp.New(`\[\d{1,3}(?: \d{1,3})+\]`)
	quoted   = lazyregexp.New("`[^`]*`")
)

// redact hides the values in text, as they stand, in JSON, in Go syntax and line by line. Error texts also carry the
// beginnings of values in backquotes, from the YAML decoder, and whole files as lists of bytes; with secrets around, these
// are hidden whatever they hold.
func (s *secretValues) redact(text string) string {
	forms := s.forms()
	if len(forms) == 0 || text == "" {
		return text
	}
	text = byteList.ReplaceAllString(text, "[…]")
	text = quoted.ReplaceAllString(text, "`…`")
	for _, f := range forms {
		if len(f) >= 4 {
			text = strings.ReplaceAll(text, f, redacted)
		} else {
			text = replaceWord(text, f, redacted)
		}
	}
	return text
}

// forms lists every spelling of every value, longest first, so that no value is cut by one that it contains.
func (s *secretValues) forms() []string {
	seen := map[string]bool{}
	add := func(f string) {
		if f = strings.TrimSpace(f); f != "" {
			seen[f] = true
		}
	}
	spell := func(v string) {
		add(v)
		add(strings.Join(strings.Fields(v), " "))
		add(base64.StdEncoding.EncodeToString([]byte(v)))
		if j, err := json.Marshal(v); err == nil {
			add(string(j[1 : len(j)-1]))
		}
		q := strconv.Quote(v)
		add(q[1 : len(q)-1])
		if strings.Contains(v, "\n") {
			for line := range strings.Lines(v) {
				add(line)
			}
		}
	}
	for _, v := range s.order {
		spell(string(v))
	}
	for _, v := range s.vars {
		if len(v) >= 4 {
			spell(v)
		}
	}
	out := make([]string, 0, len(seen))
	for f := range seen {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return out
}

// replaceWord replaces a short value only where it stands alone: inside words it would hide nothing and garble much.
func replaceWord(text, word, by string) string {
	isWord := func(i int) bool {
		if i < 0 || i >= len(text) {
			return false
		}
		c := text[i]
		return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	var b strings.Builder
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			b.WriteString(text[from:])
			return b.String()
		}
		i += from
		b.WriteString(text[from:i])
		if isWord(i-1) || isWord(i+len(word)) {
			b.WriteString(word)
		} else {
			b.WriteString(by)
		}
		from = i + len(word)
	}
}

// redactFault hides the values in what a fault says, and drops a wrapped error that would say more.
func (s *secretValues) redactFault(f *fault.Fault) {
	f.Seen, f.Why = s.redact(f.Seen), s.redact(f.Why)
	if f.Err != nil && s.redact(f.Err.Error()) != f.Err.Error() {
		f.Err = errors.New(s.redact(f.Err.Error()))
	}
}
