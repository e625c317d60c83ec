package cli

import (
	"strings"
	"testing"
)

// Flux's verbs that work on what the two controllers do are here under their names; the others are flux's, whose command
// goes on working beside. docs/compat.md says the same.
func TestFluxsVerbsAreHereOrLeftToFlux(t *testing.T) {
	here := map[string]bool{}
	for _, c := range Command().Commands() {
		here[c.Name()] = true
	}
	here["completion"] = true // cobra's own, made when the program runs
	for _, verb := range strings.Fields("bootstrap build check diff events export get install reconcile resume stats suspend trace tree uninstall version completion") {
		if !here[verb] {
			t.Errorf("%s is missing", verb)
		}
	}
	for _, verb := range strings.Fields("create debug delete envsubst list logs migrate plugin pull push tag trigger") {
		if here[verb] {
			t.Errorf("%s is here: tell it in docs/compat.md", verb)
		}
	}
}
