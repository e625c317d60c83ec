package transit

import (
	"fmt"
	"net/url"
	"strings"
)

// Allowlist says which servers a token may be sent to.
type Allowlist struct {
	Source    string // where it was given, for faults: the variable or the Secret's entry
	All       bool
	Addresses []string
}

// ParseAllowlist reads addresses, separated by commas or white space, or one of sops's words "all" and "none". Each is a
// scheme and a host. Its error does not repeat the text.
func ParseAllowlist(source, text string) (Allowlist, error) {
	list := Allowlist{Source: source}
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' || r == '\r' })
	switch {
	case len(words) == 1 && words[0] == "all":
		list.All = true
		return list, nil
	case len(words) == 1 && words[0] == "none":
		return list, nil
	case len(words) == 0:
		return list, fmt.Errorf("%s holds no address", source)
	}
	for i, w := range words {
		u, err := url.Parse(w)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" {
			return list, fmt.Errorf("entry %d of %s is not an address like https://vault.example.com:8200", i+1, source)
		}
		list.Addresses = append(list.Addresses, strings.ToLower(u.Scheme+"://"+u.Host))
	}
	return list, nil
}

// allows compares whole hosts: a prefix of one name is another name.
func (l Allowlist) allows(origin string) bool {
	if l.All {
		return true
	}
	for _, a := range l.Addresses {
		if strings.EqualFold(a, origin) {
			return true
		}
	}
	return false
}
