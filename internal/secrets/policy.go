package secrets

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

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
			tell = append(tell, fmt.Sprintf("%s, and the rule at %s wants %s: sluice secrets updatekeys", f.Seen, place(rule), f.Want))
		case !e.AllowUnlisted:
			return nil, secretFault("002", path, f.Seen+", whom the rules do not list",
				fmt.Sprintf("the rule at %s wants %s; SOPS's MAC does not protect the list, so somebody may have added to it in the file", place(rule), f.Want),
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
		fmt.Sprintf("the rule at %s wants %s; SOPS's MAC does not protect this setting, so somebody may have changed it in the file", place(rule), want),
		"encrypt the file anew under the rule, or repeat the command with --allow-narrower", exitGeneric)
}

// place says where a rule stands, as file:line.
func place(r *rules.Rule) string { return Shown(r.File) + ":" + strconv.Itoa(r.Line) }

// Shown is a path as somebody in the current folder would write it: relative, where it lies below that folder.
func Shown(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}
