package store

import (
	"strings"

	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

func writePlain(branches []tree.Branch, indent int) ([]byte, bool) { return nil, false }

// surelyPlain tells strings that YAML writes as they stand, such as every sealed value: they are longer than any word with
// a meaning of its own (false), begin with a letter or hold one that no number and no date has, and hold nothing that
// could end a plain scalar.
func surelyPlain(s string) bool {
	if len(s) <= len("false") || s[len(s)-1] == ':' {
		return false
	}
	word := letter(s[0])
	if !word && !digit(s[0]) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !letter(c) && !digit(c) && strings.IndexByte("_-./+=,:[]", c) < 0 {
			return false
		}
		word = word || strings.IndexByte("ghjklmqrsuvwy", c|0x20) >= 0
	}
	return word
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func digit(c byte) bool { return c >= '0' && c <= '9' }
