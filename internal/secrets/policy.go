package secrets

import (
	"fmt"

	"github.com/sluice-gitops/sluice/internal/secrets/rules"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// enforce holds a document's metadata against the repository's rule before it is sealed. The MAC covers neither regex nor
// recipients: whoever could change the file could have narrowed the one and added to the other, and the next seal would
// write plaintext, or hand the data key out.
func (e *Engine) enforce(path string, rule *rules.Rule, m *sops.Metadata) error {
	if rule == nil {
		return nil
	}
	where := fmt.Sprintf("%s, line %d", rule.File, rule.Line)
	if !e.AllowNarrower {
		for _, f := range rules.Narrower(rule, m) {
			switch {
			case f.Check == rules.Narrowed && chooses(rule) == "":
				continue // a rule that only lists recipients leaves the choice to the command line, as sops users do
			case f.Check == rules.WeakMAC && e.MAC == sops.Enforce:
				continue // this setting alone the MAC does protect: it starts from another value
			}
			return secretFault("001", path, "the file would be sealed more narrowly than the rules say: "+f.Seen,
				"the rule at "+where+" wants "+f.Want+"; SOPS's MAC does not protect this setting, so somebody may have changed it in the file",
				"encrypt the file anew under the rule, or repeat the command with --allow-narrower", exitGeneric)
		}
	}
	if !e.AllowUnlisted {
		for _, f := range rules.Recipients(rule, m) {
			if f.Check == rules.Unlisted {
				return secretFault("002", path, f.Seen+", whom the rules do not list",
					"the rule at "+where+" wants "+f.Want+"; SOPS's MAC does not protect the list, so somebody may have added to it in the file",
					"take it away with sluice secrets updatekeys, list it in .sops.yaml, or repeat the command with --allow-unlisted", exitGeneric)
			}
		}
	}
	return nil
}

// chooses is the rule's own choice of values, empty if it makes none.
func chooses(r *rules.Rule) string {
	return r.EncryptedRegex + r.UnencryptedRegex + r.EncryptedSuffix + r.UnencryptedSuffix + r.EncryptedCommentRegex + r.UnencryptedCommentRegex
}
