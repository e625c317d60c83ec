package check

import "github.com/sluice-gitops/sluice/internal/secrets/rules"

// The checks beside those of package rules.
const (
	PlainSecret    = "plain-secret"
	PlainGenerator = "plain-generator"
	PlainValue     = "plain-value"
	NewlyPlain     = "newly-plain"
	PlainName      = "plain-file"
	Conflict       = "conflict-markers"
	BrokenMAC      = "broken-mac"
	Tampered       = "tampered-value"
	Unusable       = "unusable-document"
	StaleKey       = "stale-key-version"
	DisabledKey    = "disabled-key"
	ExpiredKey     = "expired-key"
	Unreachable    = "key-not-judged"
	Closed         = "cluster-cannot-open"
)

// Checks describes every check in one sentence, for SARIF's rules and the documentation.
var Checks = map[string]string{
	PlainSecret:              "A Kubernetes Secret with values is not sealed.",
	PlainGenerator:           "A secretGenerator reads a value that is not sealed.",
	PlainValue:               "A sealed document holds a plain value where its own rule or the repository's wants a sealed one.",
	NewlyPlain:               "A file that was sealed in the last commit is plain.",
	PlainName:                "A file whose name says that it is sealed is plain.",
	Conflict:                 "A merge left its marks.",
	BrokenMAC:                "The MAC doesn't match the values, or is missing.",
	Tampered:                 "A value cannot be decrypted with the document's own data key.",
	Unusable:                 "The document's SOPS metadata cannot be read.",
	StaleKey:                 "The document is sealed with a version of a Key Vault key that is not the newest.",
	DisabledKey:              "The document is sealed with a disabled version of a Key Vault key.",
	ExpiredKey:               "The document is sealed with an expired version of a Key Vault key.",
	Unreachable:              "A Key Vault key could not be looked at.",
	Closed:                   "The cluster's identity is none of those that can open the document.",
	string(rules.Narrowed):   "The document seals other values than the repository's rule wants.",
	string(rules.WeakMAC):    "The document's MAC leaves out plain values.",
	string(rules.WeakQuorum): "Fewer key groups open the document than the rule asks for.",
	string(rules.Unlisted):   "The document is sealed for somebody whom the rule doesn't list.",
	string(rules.Missing):    "The document is not sealed for somebody whom the rule lists.",
	string(rules.OtherKey):   "The document is sealed with another version of a Key Vault key than the rule names.",
	string(rules.Unruled):    "No rule covers the sealed document.",
}
