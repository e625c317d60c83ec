package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
)

func TestOnlyTheWantedAnswerDeletes(t *testing.T) {
	for _, tt := range []struct {
		typed, wanted string
		yes           bool
	}{
		{"y\n", "", true}, {"YES\n", "", true}, {"\n", "", false}, {"", "", false}, {"n\n", "", false},
		{"gitops\n", "gitops", true}, {" gitops \n", "gitops", true}, {"y\n", "gitops", false}, {"Gitops\n", "gitops", false}, {"", "gitops", false},
	} {
		err := answered(strings.NewReader(tt.typed), tt.wanted)
		if (err == nil) != tt.yes || err != nil && fault.ExitCode(err) != fault.ExitNo {
			t.Errorf("%q for %q: %v", tt.typed, tt.wanted, err)
		}
	}
}

func TestWithoutATerminalNobodyIsAsked(t *testing.T) {
	f := &azureFlags{streams: Streams{In: strings.NewReader("gitops\n"), Err: io.Discard}}
	err := f.confirm("the group would be deleted", "? ", "gitops")
	if f := fault.From(err); f == nil || !strings.Contains(f.Fix, "--yes") || fault.ExitCode(err) != fault.ExitUsage {
		t.Errorf("%v", err)
	}
	f.yes = true
	if err := f.confirm("the group would be deleted", "? ", "gitops"); err != nil {
		t.Errorf("with --yes: %v", err)
	}
}
