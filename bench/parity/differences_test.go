package parity

import (
	"regexp"
	"strings"
	"sync/atomic"
)

// difference is one that is explained. In fixture and path, * stands for any characters.
type difference struct {
	fixture, path string
	why           string // one sentence; docs/compat.md has the row
	used          atomic.Bool
}

// differences is the checked list of all that differs.
var differences = []*difference{
	{fixture: "*", path: "Event/*/Warning/*/message", why: "a failure's text names its hop and its fix"},
	{fixture: "*", path: "*/status/conditions/*/False:*/message", why: "a failure's text names its hop and its fix"},
	{fixture: "*", path: "*/status/conditions/Stalled/True:*/message", why: "a failure's text names its hop and its fix"},
	{fixture: "*", path: "*/status/conditions/FetchFailed/True:*/message", why: "a failure's text names its hop and its fix"},
	{fixture: "*", path: "*/status/conditions/Reconciling/True:ProgressingWithRetry/message", why: "it says what failed; Flux leaves the step that was reached"},
	{fixture: "*", path: "Event/Kustomization/*/Normal/ReconciliationSucceeded/*", why: "that a run has finished is posted to the notification-controller and is no Kubernetes Event: a commit finishes all Kustomizations"},
	{fixture: "*", path: "Event/Kustomization/*/Normal/DependencyNotReady/*", why: "waiting in line is no event; Flux repeats it every 30 s"},
	{fixture: "*", path: "*/status/conditions/IncludeUnavailable/True:*/message", why: "a failure's text names its hop and its fix"},
	{fixture: "*", path: "GitRepository/*/archive/.", why: "the archive has no entry for its own root folder"},
	{fixture: "git-submodule", path: "GitRepository/with/archive/module/.git", why: "the pointer file of a submodule says where the controller keeps it, and is left out"},
	{fixture: "git-submodule", path: "GitRepository/without/archive/module", why: "no empty folder stands for a submodule that is not fetched"},
	{fixture: "git-suspend", path: "Event/GitRepository/*/Normal/GarbageCollectionSucceeded/*", why: "a deleted repository leaves no event behind"},
	{fixture: "git-include", path: "Event/GitRepository/lonely/*", why: "an include that is missing is a warning; Flux posts it as normal"},
	{fixture: "prune", path: "Event/Kustomization/app/Normal/Progressing/message", why: "what is kept on purpose is not named among the changes"},
	{fixture: "immutable", path: "Event/Kustomization/*/Normal/Progressing/*", why: "an object made anew is called replaced; Flux calls it created again"},
	{fixture: "missing-path", path: "Kustomization/app/status/lastAttemptedRevision", why: "a revision without the path was attempted too"},
	{fixture: "no-source", path: "Event/Kustomization/app/Warning/ArtifactFailed/*", why: "a source that does not exist is told in an event"},
	{fixture: "no-source", path: "Kustomization/app/status/conditions/Reconciling", why: "Reconciling stands while something will be tried again"},
	{fixture: "no-source", path: "Kustomization/foreign/status/observedGeneration", why: "a refusal for good has observed the generation, as for every other one in Flux"},
	{fixture: "depends", path: "Kustomization/lonely/status/conditions/Reconciling", why: "Reconciling stands while something will be tried again"},
	{fixture: "health-failed", path: "Kustomization/after/status/conditions/Reconciling", why: "Reconciling stands while something will be tried again"},
	{fixture: "secrets-undecrypted", path: "*", why: "an encrypted Secret without decryption is refused before anything is applied; Flux 1.9.4 applies the ciphertext of its stringData"},
}

func allowed(fixture, path string) *difference {
	for _, d := range differences {
		if glob(d.fixture, fixture) && glob(d.path, path) {
			return d
		}
	}
	return nil
}

func glob(pattern, text string) bool {
	expr := "^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$"
	ok, err := regexp.MatchString(expr, text)
	return err == nil && ok
}
