package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/metadata"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// Check names what a finding is about.
type Check string

// The checks of a document's metadata against its rule.
const (
	Narrowed   Check = "narrowed-rule"      // other values are sealed than the rule wants
	WeakMAC    Check = "mac-covers-less"    // the MAC leaves out plain values
	WeakQuorum Check = "lower-threshold"    // fewer key groups open it
	Unlisted   Check = "unlisted-recipient" // somebody can read it whom the rule doesn't list
	Missing    Check = "missing-recipient"  // somebody cannot read it whom the rule lists
	OtherKey   Check = "other-key-version"  // a listed Key Vault key, in another version than the rule pins
	Unruled    Check = "no-rule"            // no creation rule covers it
)

// Finding is one way in which a document differs from its rule.
type Finding struct {
	Check Check
	Seen  string // what the document says
	Want  string // what the rule says
	// Recipient is the recipient concerned: public, but of one word. Empty for other checks.
	Recipient string
}

// Narrower says in which ways the document seals less than the rule wants: it selects other values, its MAC covers
// less, or fewer key groups open it. A document that seals more is none of its business.
//
// One regular expression cannot be held against another in general. A different one is taken for a narrower one, unless
// both are anchored lists of names and the document's has all of the rule's. A document that seals everything but what
// ends in _unencrypted, which is sops's default, passes too: whether it left a value plain that the rule wants sealed
// is to be seen at its values. So is what a document seals whose rule only lists recipients: that rule leaves the choice
// to whoever seals, as sops's users do who give --encrypted-regex on the command line.
func Narrower(rule *Rule, doc *sops.Metadata) []Finding {
	var out []Finding
	want, have := rule.selection(), selectionOf(doc)
	if rule.Chooses() && !have.covers(want) {
		out = append(out, Finding{Check: Narrowed, Seen: have.String(), Want: want.String()})
	}
	if rule.Chooses() && doc.MACOnlyEncrypted && !rule.MACOnlyEncrypted {
		out = append(out, Finding{Check: WeakMAC, Seen: "mac_only_encrypted: true", Want: "mac_only_encrypted: false"})
	}
	if len(rule.names()) > 0 {
		w, h := quorum(len(rule.Groups), rule.ShamirThreshold), quorum(len(doc.KeyGroups), doc.ShamirThreshold)
		if h < w {
			out = append(out, Finding{Check: WeakQuorum, Seen: fmt.Sprintf("%d of %d key groups open it", h, len(doc.KeyGroups)),
				Want: fmt.Sprintf("%d of %d key groups", w, len(rule.Groups))})
		}
	}
	return out
}

// Recipients says for whom the document is sealed though the rule doesn't list them, and for whom it isn't though the
// rule does. A rule that lists nobody leaves the choice to the command line, so nothing differs from it.
//
// Groups are compared in their order, as sops writes them: a recipient that moved into another group is one of each.
func Recipients(rule *Rule, doc *sops.Metadata) []Finding {
	if len(rule.names()) == 0 {
		return nil
	}
	var out []Finding
	for i := range max(len(rule.Groups), len(doc.KeyGroups)) {
		var want, have recipient.Group
		if i < len(rule.Groups) {
			want = rule.Groups[i]
		}
		if i < len(doc.KeyGroups) {
			have = doc.KeyGroups[i]
		}
		out = append(out, compareGroups(want, have)...)
	}
	return out
}

func compareGroups(want, have recipient.Group) []Finding {
	var out []Finding
	for _, h := range have {
		name := Recipient(h)
		switch w := find(want, func(w recipient.Key) bool { return sameKey(w, h) }); {
		case w != nil && pinned(w, h):
			out = append(out, Finding{Check: OtherKey, Seen: name, Want: Recipient(w), Recipient: name})
		case w == nil:
			out = append(out, Finding{Check: Unlisted, Seen: "it is sealed for " + name, Want: "only recipients that the rule lists", Recipient: name})
		}
	}
	for _, w := range want {
		if find(have, func(h recipient.Key) bool { return sameKey(w, h) }) == nil {
			name := Recipient(w)
			out = append(out, Finding{Check: Missing, Seen: "it is not sealed for " + name, Want: "every recipient that the rule lists", Recipient: name})
		}
	}
	return out
}

func find(g recipient.Group, match func(recipient.Key) bool) recipient.Key {
	if i := slices.IndexFunc(g, match); i >= 0 {
		return g[i]
	}
	return nil
}

// Recipient names a recipient as people know it: its kind and its public name.
func Recipient(k recipient.Key) string { return k.Kind() + " " + k.String() }

// sameKey says whether two recipients are one, whatever the version of a Key Vault key.
func sameKey(a, b recipient.Key) bool {
	kind := a.Kind()
	if kind != b.Kind() {
		return false
	}
	switch kind {
	case "azure_kv":
		va, _ := splitAzure(a)
		vb, _ := splitAzure(b)
		return strings.EqualFold(va, vb)
	case "pgp":
		return strings.EqualFold(a.String(), b.String())
	case "kms":
		// The profile is the sealer's own, and sops may leave it out of the document.
		return withoutProfile(a) == withoutProfile(b)
	}
	return a.String() == b.String()
}

func pinned(rule, doc recipient.Key) bool {
	if rule.Kind() != "azure_kv" {
		return false
	}
	_, want := splitAzure(rule)
	_, have := splitAzure(doc)
	return want != "" && want != have
}

// splitAzure parts a key's URL from its version.
func splitAzure(k recipient.Key) (key, version string) {
	s := k.String()
	i := strings.LastIndexByte(s, '/')
	return s[:max(i, 0)], s[i+1:]
}

func withoutProfile(k recipient.Key) string {
	parts := strings.Split(k.String(), "|")
	if len(parts) == 1 {
		return parts[0]
	}
	return strings.TrimSuffix(parts[0]+"|"+parts[1], "|")
}

// quorum is how many groups have to be asked.
func quorum(groups, threshold int) int {
	switch {
	case groups <= 1:
		return groups
	case threshold == 0:
		return groups
	}
	return threshold
}

// names lists the recipients of all groups.
func (r *Rule) names() (out []string) {
	for _, g := range r.Groups {
		for _, k := range g {
			out = append(out, Recipient(k))
		}
	}
	return out
}

// Chooses says whether the rule names values to seal, or only recipients.
func (r *Rule) Chooses() bool {
	return r.EncryptedRegex+r.UnencryptedRegex+r.EncryptedSuffix+r.UnencryptedSuffix+r.EncryptedCommentRegex+r.UnencryptedCommentRegex != "" || r.MACOnlyEncrypted
}

// SameChoice says whether a document selects its values exactly as its rule does, sops's default being a choice too.
func SameChoice(rule *Rule, doc *sops.Metadata) bool { return rule.selection() == selectionOf(doc) }

// selection is which values are sealed: the field of the metadata, and its expression or suffix.
type selection struct{ field, value string }

func (s selection) String() string { return s.field + ": " + s.value }

func (r *Rule) selection() selection {
	return firstSet(r.EncryptedRegex, r.UnencryptedRegex, r.EncryptedSuffix, r.UnencryptedSuffix, r.EncryptedCommentRegex, r.UnencryptedCommentRegex)
}

func selectionOf(m *sops.Metadata) selection {
	return firstSet(m.EncryptedRegex, m.UnencryptedRegex, m.EncryptedSuffix, m.UnencryptedSuffix, m.EncryptedCommentRegex, m.UnencryptedCommentRegex)
}

func firstSet(values ...string) selection {
	fields := []string{"encrypted_regex", "unencrypted_regex", "encrypted_suffix", "unencrypted_suffix", "encrypted_comment_regex", "unencrypted_comment_regex"}
	for i, v := range values {
		if v != "" {
			return selection{fields[i], v}
		}
	}
	return selection{"unencrypted_suffix", metadata.DefaultUnencryptedSuffix}
}

// isDefault says whether everything is sealed but what its author marked.
func (s selection) isDefault() bool {
	return s == selection{"unencrypted_suffix", metadata.DefaultUnencryptedSuffix}
}

// covers says whether s is known to seal whatever want seals.
func (s selection) covers(want selection) bool {
	if s == want || s.isDefault() {
		return true
	}
	if s.field != "encrypted_regex" || want.field != "encrypted_regex" {
		return false
	}
	have, ok := alternatives(s.value)
	need, needOK := alternatives(want.value)
	if !ok || !needOK {
		return false
	}
	return !slices.ContainsFunc(need, func(n string) bool { return !slices.Contains(have, n) })
}

var listOfNames = lazyregexp.New(`^\^(?:\(([\w|-]+)\)|([\w-]+))\$$`)

// alternatives takes ^(a|b)$ and ^a$ apart.
func alternatives(re string) ([]string, bool) {
	m := listOfNames.FindStringSubmatch(re)
	if m == nil {
		return nil, false
	}
	return strings.Split(m[1]+m[2], "|"), true
}
