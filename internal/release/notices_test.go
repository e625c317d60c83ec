package release_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gitops/sluice/internal/release"
)

// ours are the licences of the real program, on this machine's target.
var ours = sync.OnceValues(func() (*release.Notices, error) {
	return release.Licenses("../..", release.RootsPackage)(context.Background(), amd64)
})

func notices(t *testing.T) *release.Notices {
	t.Helper()
	n, err := ours()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func licensed(context.Context, release.Target) (*release.Notices, error) { return ours() }

// Whoever adds a module without a licence text learns its name here, and not when a release is made.
func TestEveryModuleThatIsLinkedHasALicence(t *testing.T) {
	for _, target := range release.Targets {
		n, err := release.Licenses("../..", release.RootsPackage)(t.Context(), target)
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		text := string(n.Text())
		for _, says := range []string{"\nthe Go standard library/LICENSE\n", "\nk8s.io/client-go@v", "\ngithub.com/spf13/cobra@v", "Copyright 2009 The Go Authors", "Apache License", "/NOTICE"} {
			if !strings.Contains(text, says) {
				t.Errorf("%s: nothing says %q", target, says)
			}
		}
		if strings.Contains(text, "github.com/sluice-gitops/sluice@") || strings.Contains(text, "\r") {
			t.Errorf("%s: the notices name our own module, or have Windows' line ends", target)
		}
	}
}

func TestNoticesAreTheSameTwice(t *testing.T) {
	again, err := release.Licenses("../..", release.RootsPackage)(t.Context(), amd64)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(notices(t).Text(), again.Text()) || !bytes.Equal(again.Text(), again.Text()) {
		t.Error("the same modules gave two texts")
	}
}

// withModule is a checkout that needs a module example.com/other, which has the files given.
func withModule(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := checkout(t)
	all := map[string]string{
		"go.mod":                  "module github.com/sluice-gitops/sluice\n\ngo 1.26.0\n\nrequire example.com/other v0.0.0\n\nreplace example.com/other => ./other\n",
		"cmd/sluice/main.go":      "package main\n\nimport _ \"example.com/other/deep/down\"\n\nfunc main() {}\n",
		"other/go.mod":            "module example.com/other\n\ngo 1.26.0\n",
		"other/deep/down/down.go": "package down\n",
	}
	for name, text := range files {
		all["other/"+name] = text
	}
	for name, text := range all {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAModuleWithoutALicenceIsNamed(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"nothing":            nil,
		"a notice alone":     {"NOTICE": "made by nobody"},
		"an empty file":      {"LICENSE": "\n"},
		"another package's":  {"side/LICENSE": "for side only", "side/side.go": "package side\n"},
		"code called so":     {"license.go": "package other\n"},
		"a folder called so": {"LICENSES/readme": "see elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := release.Licenses(withModule(t, files))(t.Context(), amd64)
			if err == nil || !strings.Contains(err.Error(), "no licence text is in: ./other@") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestTextsAreTakenFromThePackageUpToItsModule(t *testing.T) {
	dir := withModule(t, map[string]string{"LICENSE.txt": "the module's\r\n", "deep/COPYING": "the folder's", "deep/down/NOTICE": "the package's", "side/LICENSE": "not linked"})
	n, err := release.Licenses(dir)(t.Context(), amd64)
	if err != nil {
		t.Fatal(err)
	}
	text := string(n.Text())
	for _, says := range []string{"./other@/LICENSE.txt\n", "the module's\n", "./other@/deep/COPYING\n", "./other@/deep/down/NOTICE\n", "the package's\n"} {
		if !strings.Contains(text, says) {
			t.Errorf("nothing says %q in\n%s", says, text)
		}
	}
	if strings.Contains(text, "not linked") {
		t.Error("a text of a package that is not linked is there")
	}
}

func TestNothingIsPublishedWithAModuleOfUnknownLicence(t *testing.T) {
	b := binary(t, amd64)
	info := *b.Info
	info.Deps = append(info.Deps, &debug.Module{Path: "example.com/unheard", Version: "v1.0.0"})
	b.Info = &info
	_, err := release.Image(v123, b, nil, notices(t), roots())
	if err == nil || !strings.Contains(err.Error(), "example.com/unheard@v1.0.0") {
		t.Errorf("an image: %v", err)
	}
	left, err := archives(t, t.TempDir(), func(context.Context, release.Target) (release.Binary, error) { return b, nil })
	if err == nil || !strings.Contains(err.Error(), "example.com/unheard@v1.0.0") || len(left) > 0 {
		t.Errorf("archives: %v, %d files", err, len(left))
	}
}
