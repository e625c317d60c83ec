package lawtest

import (
	"regexp"
	"strings"
	"testing"
)

func TestEveryMakeTargetHasHelp(t *testing.T) {
	text := read(t, "Makefile")
	phony := regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindStringSubmatch(text)
	if phony == nil {
		t.Fatal("Makefile has no .PHONY line")
	}
	for _, target := range strings.Fields(phony[1]) {
		if !regexp.MustCompile(`(?m)^` + target + `:.* ## \S`).MatchString(text) {
			t.Errorf("make %s has no help after ##", target)
		}
	}
}
