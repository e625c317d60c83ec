// Package redact takes secret values out of texts that leave the process: errors of the API server, of libraries, of
// Git hosts.
//
// It works by value, not by kind: an API server quotes ConfigMaps as readily as Secrets, and libraries quote whatever
// they choke on. It stands at the edge, between whatever failed and the status, event, log line or terminal that tells
// of it. It does not find values that nobody gave it, and a value that was reformatted beyond the forms below stays.
//
// Recognised forms of a value: raw; without surrounding white space; escaped as in JSON (with and without HTML escapes,
// and twice), in Go's quoting, in URLs; base64 in both alphabets, with and without padding, and also in the middle of a
// longer base64 text (a password inside an encoded document). Of a value with several lines, each line of 8 bytes or
// more counts as well.
//
// Short values would shred every message, so how a form is matched depends on its length:
//
//	6 bytes and more   anywhere
//	3 to 5 bytes       where no letter or digit touches it ("dev" in "env dev failed", not in "device")
//	1 and 2 bytes      between quotes only
package redact

import (
	"sort"
	"strings"
	"sync"
)

// Mark stands where a value was.
const Mark = "[redacted]"

// Redactor hides one set of values. The zero value and nil hide nothing. It is safe for concurrent use.
type Redactor struct {
	values [][]byte
	once   sync.Once
	forms  []string // built at the first use: most reconciles never need it
}

// New returns a Redactor for the values, which it keeps but does not change. Empty ones and mere white space are
// ignored.
func New(values ...[]byte) *Redactor { return &Redactor{values: values} }

// Redact returns s with every form of every value replaced by Mark. Overlapping and adjacent finds become one Mark, so
// that no rest of one value remains beside another.
func (r *Redactor) Redact(s string) string {
	if r == nil || s == "" {
		return s
	}
	r.once.Do(func() { r.forms = formsOf(r.values) })
	var finds []span
	for _, form := range r.forms {
		for from := 0; ; {
			i := strings.Index(s[from:], form)
			if i < 0 {
				break
			}
			at := span{from + i, from + i + len(form)}
			if counts(s, at) {
				finds = append(finds, at)
			}
			from = at.start + 1
		}
	}
	return replace(s, finds)
}

// span is a half-open range of byte offsets.
type span struct{ start, end int }

// counts applies the package's rule on short forms.
func counts(s string, at span) bool {
	before, after := byte(' '), byte(' ')
	if at.start > 0 {
		before = s[at.start-1]
	}
	if at.end < len(s) {
		after = s[at.end]
	}
	switch n := at.end - at.start; {
	case n >= 6:
		return true
	case n >= 3:
		return !wordByte(before) && !wordByte(after)
	default:
		return before == after && strings.IndexByte("\"'`", before) >= 0
	}
}

func wordByte(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= 0x80
}

func replace(s string, finds []span) string {
	if len(finds) == 0 {
		return s
	}
	sort.Slice(finds, func(i, j int) bool { return finds[i].start < finds[j].start })
	var b strings.Builder
	done := 0 // everything before it is written
	for i := 0; i < len(finds); {
		at := finds[i]
		for i++; i < len(finds) && finds[i].start <= at.end; i++ {
			at.end = max(at.end, finds[i].end)
		}
		b.WriteString(s[done:at.start])
		b.WriteString(Mark)
		done = at.end
	}
	b.WriteString(s[done:])
	return b.String()
}
