package secrets

import (
	"fmt"

	"github.com/sluice-gitops/sluice/internal/secrets/check"
	"github.com/sluice-gitops/sluice/internal/secrets/rules"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// enforce holds a document's metadata against the repository's rule before it is sealed. The MAC covers neither regex nor
// recipients: whoever could change the file could have narrowed the one and added to the other, and the next seal would
// write plaintext, or hand the data key out. What `secrets check` will find though it endangers nobody is told.
func (e *Engine) enforce(path string, rule *rules.Rule, m *sops.Metadata) (tell []string, err error) {
	if rule == nil {
		return nil, nil
	}
	if !e.AllowNarrower {
		for _, f := range rules.Narrower(rule, m) {
			return nil, tooNarrow(path, rule, f.Seen, f.Want)
		}
	}
	for _, f := range rules.Recipients(rule, m) {
		switch {
		case f.Check != rules.Unlisted:
			tell = append(tell, fmt.Sprintf("%s, and the rule at %s, line %d, wants %s: sluice secrets updatekeys", f.Seen, rule.File, rule.Line, f.Want))
		case !e.AllowUnlisted:
			return nil, secretFault("002", path, f.Seen+", whom the rules do not list",
				fmt.Sprintf("the rule at %s, line %d wants %s; SOPS's MAC does not protect the list, so somebody may have added to it in the file", rule.File, rule.Line, f.Want),
				"take it away with sluice secrets updatekeys, list it in .sops.yaml, or repeat the command with --allow-unlisted", exitGeneric)
		}
	}
	return tell, nil
}

// result is a verb's output, if `secrets check` will find nothing in it that is sealed too narrowly: one judge speaks for
// the commands, for CI and for the controller's --sops-policy. Metadata was judged by enforce; the values need a look
// only where the document selects them otherwise than its rule does.
func (e *Engine) result(path string, rule *rules.Rule, m *sops.Metadata, before, sealed []byte, f sops.Format, did string, tell []string) (Output, error) {
	if rule != nil && !e.AllowNarrower && !rules.SameChoice(rule, m) && f == sops.FormatFor(e.name(path)) {
		for _, found := range check.Sealed(e.name(path), sealed, rule) {
			if found.Check == check.PlainValue || found.Check == string(rules.Narrowed) {
				return Output{}, tooNarrow(path, rule, found.Seen, "a Secret's data and stringData sealed, and something in any other file")
			}
		}
	}
	return Output{Data: lineEnds(before, sealed, f), Did: did, Tell: tell}, nil
}

func tooNarrow(path string, rule *rules.Rule, seen, want string) error {
	return secretFault("001", path, "the file would be sealed more narrowly than the rules say: "+seen,
		fmt.Sprintf("the rule at %s, line %d wants %s; SOPS's MAC does not protect this setting, so somebody may have changed it in the file", rule.File, rule.Line, want),
		"encrypt the file anew under the rule, or repeat the command with --allow-narrower", exitGeneric)
}
