package release_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/release"
)

// readSBOM checks what every SPDX 2.3 document must have, and returns its packages' versions by name.
func readSBOM(t *testing.T, data []byte) map[string]string {
	t.Helper()
	var d struct {
		SPDXVersion, DataLicense, SPDXID, DocumentNamespace string
		CreationInfo                                        struct {
			Created  string
			Creators []string
		}
		Packages []struct {
			SPDXID, Name, VersionInfo, DownloadLocation string
			ExternalRefs                                []struct{ ReferenceLocator string }
		}
		Relationships []struct{ SPDXElementID, RelatedSPDXElement string }
	}
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	if d.SPDXVersion != "SPDX-2.3" || d.DataLicense != "CC0-1.0" || d.SPDXID != "SPDXRef-DOCUMENT" || d.DocumentNamespace == "" ||
		d.CreationInfo.Created != "2023-11-14T22:13:20Z" || len(d.CreationInfo.Creators) == 0 {
		t.Errorf("head of the document: %+v", d)
	}
	ids, versions := map[string]bool{"SPDXRef-DOCUMENT": true}, map[string]string{}
	for _, p := range d.Packages {
		if !regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`).MatchString(p.SPDXID) || ids[p.SPDXID] || p.DownloadLocation == "" {
			t.Errorf("package %+v", p)
		}
		if len(p.ExternalRefs) != 1 || !strings.HasPrefix(p.ExternalRefs[0].ReferenceLocator, "pkg:golang/") || strings.Contains(p.ExternalRefs[0].ReferenceLocator, "+") {
			t.Errorf("%s is looked up as %v", p.Name, p.ExternalRefs)
		}
		ids[p.SPDXID], versions[p.Name] = true, p.VersionInfo
	}
	for _, r := range d.Relationships {
		if !ids[r.SPDXElementID] || !ids[r.RelatedSPDXElement] {
			t.Errorf("relationship of unknown elements: %+v", r)
		}
	}
	return versions
}

func TestAReplacedModuleIsListedAsWhatReplacedIt(t *testing.T) {
	b := binary(t, amd64)
	b.Info = &debug.BuildInfo{GoVersion: "go1.26.1", Main: b.Info.Main, Deps: []*debug.Module{
		{Path: "example.com/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/new", Version: "v1.0.1+incompatible"}}}}
	data, err := release.SBOM(b, "v1.2.3", v123.Time)
	if err != nil {
		t.Fatal(err)
	}
	versions := readSBOM(t, data)
	if versions["example.com/new"] != "v1.0.1+incompatible" || versions["example.com/old"] != "" || versions["stdlib"] != "1.26.1" {
		t.Errorf("packages %v", versions)
	}
}

// commands is a small command tree with a hidden command.
func commands() *cobra.Command {
	nothing := func(*cobra.Command, []string) {}
	root := &cobra.Command{Use: "sluice", Short: "Do things", Run: nothing}
	get := &cobra.Command{Use: "get", Short: "Get things"}
	get.AddCommand(&cobra.Command{Use: "sources", Short: "Get sources", Run: nothing})
	root.AddCommand(get, &cobra.Command{Use: "platform", Hidden: true, Short: "Not for people", Run: nothing})
	return root
}

// archives runs Archives with a builder that compiles nothing, and returns what it left.
func archives(t *testing.T, dir string, build release.Builder) (map[string][]byte, error) {
	t.Helper()
	err := release.Archives(context.Background(), dir, v123, release.Targets, build, licensed, commands(), []byte("a license"))
	left := map[string][]byte{}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		data, readErr := os.ReadFile(filepath.Join(dir, e.Name()))
		if readErr != nil {
			t.Fatal(readErr)
		}
		left[e.Name()] = data
	}
	return left, err
}

// unpack lists the files of an archive with their modes and contents.
func unpack(t *testing.T, name string, data []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	if strings.HasSuffix(name, ".zip") {
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			files[f.Name] = fmt.Sprintf("%o %s", f.Mode().Perm(), content)
		}
		return files
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		} else if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = fmt.Sprintf("%o %s", h.Mode, content)
	}
}

func stub(t *testing.T) release.Builder {
	return func(_ context.Context, target release.Target) (release.Binary, error) {
		b := binary(t, target)
		b.Data = []byte("program for " + target.String())
		return b, nil
	}
}

func TestAReleaseHasAnArchiveForEachSystemWithEverythingInIt(t *testing.T) {
	left, err := archives(t, t.TempDir(), stub(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 7 {
		t.Fatalf("%d files, want six archives and %s", len(left), release.Sums)
	}
	for _, target := range release.Targets {
		name, exe := "sluice_1.2.3+build.4_"+target.OS+"_"+target.Arch+".tar.gz", "sluice"
		if target.OS == "windows" {
			name, exe = strings.TrimSuffix(name, ".tar.gz")+".zip", "sluice.exe"
		}
		files := unpack(t, name, left[name])
		if files[exe] != "755 program for "+target.String() {
			t.Errorf("%s: program %q", name, files[exe])
		}
		if files["LICENSE"] != "644 a license" {
			t.Errorf("%s: LICENSE %q", name, files["LICENSE"])
		}
		for page, says := range map[string]string{
			"completions/sluice.bash": "bash completion", "completions/_sluice": "#compdef sluice", "completions/sluice.fish": "fish completion",
			"completions/sluice.ps1": "Register-ArgumentCompleter", "man/man1/sluice.1": "Do things", "man/man1/sluice-get-sources.1": `"SLUICE-GET-SOURCES" "1" "Nov 2023"`,
			"sluice.spdx.json": "SPDX-2.3", "THIRD_PARTY_NOTICES": "\ngolang.org/x/term@v",
		} {
			if !strings.Contains(files[page], says) {
				t.Errorf("%s: %s doesn't say %q: %.200q", name, page, says, files[page])
			}
		}
		if _, ok := files["man/man1/sluice-platform.1"]; ok {
			t.Errorf("%s has a page of a hidden command", name)
		}
		if sum := fmt.Sprintf("%x  %s\n", sha256.Sum256(left[name]), name); !strings.Contains(string(left[release.Sums]), sum) {
			t.Errorf("%s lacks %q", release.Sums, sum)
		}
	}
}

func TestAReleaseIsTheSameTwice(t *testing.T) {
	first, err := archives(t, t.TempDir(), stub(t))
	if err != nil {
		t.Fatal(err)
	}
	second, err := archives(t, t.TempDir(), stub(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range first {
		if !bytes.Equal(data, second[name]) {
			t.Errorf("%s differs", name)
		}
	}
}

func TestAReleaseThatIsNotWholeHasNoChecksums(t *testing.T) {
	dir := t.TempDir()
	if _, err := archives(t, dir, stub(t)); err != nil {
		t.Fatal(err)
	}
	left, err := archives(t, dir, func(ctx context.Context, target release.Target) (release.Binary, error) {
		if target.OS == "windows" {
			return release.Binary{}, errors.New("does not compile")
		}
		return stub(t)(ctx, target)
	})
	if err == nil || !strings.Contains(err.Error(), "windows/amd64: does not compile") || !strings.Contains(err.Error(), "windows/arm64") {
		t.Errorf("error %v", err)
	}
	if left[release.Sums] != nil {
		t.Errorf("%s is there", release.Sums)
	}
}

func TestTargetsAreTheKnownOnes(t *testing.T) {
	got, err := release.ParseTargets("linux/arm64, windows/amd64")
	if err != nil || fmt.Sprint(got) != "[linux/arm64 windows/amd64]" {
		t.Errorf("%v, %v", got, err)
	}
	for _, list := range []string{"", "linux", "plan9/amd64", "linux/amd64,"} {
		if got, err := release.ParseTargets(list); err == nil {
			t.Errorf("%q gives %v", list, got)
		}
	}
}

// checkout makes a module that builds like ours and needs nothing but Go's runtime.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":              "module github.com/sluice-gitops/sluice\n\ngo 1.26.0\n",
		"internal/cli/cli.go": "package cli\n\nvar Version = \"\"\n",
		"cmd/sluice/main.go":  "package main\n\nimport \"github.com/sluice-gitops/sluice/internal/cli\"\n\nfunc main() { println(cli.Version) }\n",
	} {
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

func TestABinaryDoesNotDependOnWhereAndHowItWasBuilt(t *testing.T) {
	here := release.Target{OS: runtime.GOOS, Arch: runtime.GOARCH}
	first, err := release.Go(checkout(t), "v1.2.3")(t.Context(), here)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOFLAGS", "-tags=mine -ldflags=-compressdwarf=false")
	t.Setenv("CGO_ENABLED", "1")
	t.Setenv("GOOS", "plan9")
	second, err := release.Go(checkout(t), "v1.2.3")(t.Context(), here)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Data, second.Data) {
		t.Error("two checkouts of one source gave two binaries")
	}
	if !bytes.Contains(first.Data, []byte("v1.2.3")) || first.Info.Main.Path != "github.com/sluice-gitops/sluice" {
		t.Errorf("version missing, or built of %s", first.Info.Main.Path)
	}
}

func TestABinaryThatDoesNotCompileIsToldWithTheCompilersWords(t *testing.T) {
	dir := checkout(t)
	if err := os.WriteFile(filepath.Join(dir, "internal", "cli", "cli.go"), []byte("package cli\n\nvar Version int = \"\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := release.Go(dir, "v1.2.3")(t.Context(), release.Target{OS: runtime.GOOS, Arch: runtime.GOARCH})
	if err == nil || !strings.Contains(err.Error(), "cli.go:3:") {
		t.Errorf("error %v", err)
	}
}
