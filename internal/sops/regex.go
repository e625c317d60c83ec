package sops

import (
	"regexp"
	"strings"

	getsops "github.com/getsops/sops/v3"
)

// withoutRegex gives the tree, its values shared, a suffix rule in the place of a regex where both choose the same
// values. The library compiles a regex anew for each key on each value's way, and a suffix costs it nothing. It is for
// walking alone: the document keeps its rule.
func withoutRegex(tree getsops.Tree) getsops.Tree {
	m := &tree.Metadata
	if m.EncryptedSuffix != "" || m.UnencryptedSuffix != "" || (m.EncryptedRegex == "") == (m.UnencryptedRegex == "") {
		return tree
	}
	re, err := regexp.Compile(m.EncryptedRegex + m.UnencryptedRegex)
	if err != nil {
		return tree // the library takes it for one that matches nothing
	}
	names := map[string]bool{} // and whether the regex matches
	for _, b := range tree.Branches {
		keysOf(b, re, names)
	}
	suffix := ""
	for name, matches := range names {
		if !matches {
			continue
		}
		if suffix != "" || name == "" {
			return tree
		}
		suffix = name
	}
	if suffix == "" {
		return tree
	}
	for name, matches := range names {
		if !matches && strings.HasSuffix(name, suffix) {
			return tree
		}
	}
	if m.EncryptedRegex != "" {
		m.EncryptedRegex, m.EncryptedSuffix = "", suffix
	} else {
		m.UnencryptedRegex, m.UnencryptedSuffix = "", suffix
	}
	return tree
}

// keysOf notes every key below v.
func keysOf(v any, re *regexp.Regexp, names map[string]bool) {
	switch v := v.(type) {
	case getsops.TreeBranch:
		for _, item := range v {
			if name, ok := item.Key.(string); ok {
				if _, known := names[name]; !known {
					names[name] = re.MatchString(name)
				}
			}
			keysOf(item.Value, re, names)
		}
	case []any:
		for _, item := range v {
			keysOf(item, re, names)
		}
	}
}
