package cli

import (
	"strings"
	"testing"
)

func TestInstallTakesFluxsFlagsAsBootstrapDoes(t *testing.T) {
	for _, f := range fluxBootstrap {
		if f.url != "" || f.flag == "branch" || f.flag == "recurse-submodules" || f.flag == "components-extra" || f.flag == "ssh-hostkey-algos" {
			continue
		}
		out, errs, code := runAlone(t, "install", "--export", "--"+f.flag+"="+f.value)
		switch said := strings.Replace(f.refused, " --export", "", 1); {
		case said != "" && (code == 0 || !strings.Contains(errs, said)):
			t.Errorf("--%s=%s: exit %d, want to be refused for %q: %s", f.flag, f.value, code, said, errs)
		case said == "" && (code != 0 || !strings.Contains(errs, f.warns)):
			t.Errorf("--%s=%s: exit %d: %s", f.flag, f.value, code, errs)
		}
		for _, want := range f.prints {
			if text, not := strings.CutPrefix(want, "!"); strings.Contains(out, text) == not {
				t.Errorf("--%s=%s: %q is printed: %v", f.flag, f.value, text, not)
			}
		}
	}
	if out, errs, code := runAlone(t, "install", "--export", "--components-extra", "source-controller"); code != 0 || strings.Contains(out, "name: gitrepositories.source") {
		t.Errorf("beside Flux's source-controller: exit %d: %s", code, errs)
	}
}
