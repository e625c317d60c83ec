package release_test

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/sluice-gitops/sluice/internal/release"
)

var (
	v123   = release.Release{Version: "v1.2.3+build.4", Revision: "0123abcd", Time: time.Unix(1_700_000_000, 0)}
	amd64  = release.Target{OS: "linux", Arch: "amd64"}
	arm64  = release.Target{OS: "linux", Arch: "arm64"}
	linked = sync.OnceValues(link)
)

// roots is the module of the root certificates, which go test's programs don't know of themselves.
var roots = sync.OnceValue(func() *debug.Module {
	const path = "golang.org/x/crypto/x509roots/fallback"
	version, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", path).Output()
	if err != nil {
		panic(err)
	}
	return &debug.Module{Path: path, Version: strings.TrimSpace(string(version))}
})

// link builds a small program that needs modules, for what a linker writes down about them.
func link() (release.Binary, error) {
	dir, err := os.MkdirTemp("", "release-test-")
	if err != nil {
		return release.Binary{}, err
	}
	defer os.RemoveAll(dir)
	source, out := filepath.Join(dir, "main.go"), filepath.Join(dir, "main")
	text := "package main\n\nimport \"golang.org/x/term\"\n\nfunc main() { println(term.IsTerminal(0)) }\n"
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		return release.Binary{}, err
	}
	if said, err := exec.Command("go", "build", "-o", out, source).CombinedOutput(); err != nil {
		return release.Binary{}, fmt.Errorf("%w: %s", err, said)
	}
	b, err := release.Read(amd64, out)
	b.Data = []byte("a small program")
	return b, err
}

func binary(t *testing.T, target release.Target) release.Binary {
	t.Helper()
	b, err := linked()
	if err != nil {
		t.Fatal(err)
	}
	b.Target = target
	return b
}

func image(t *testing.T, r release.Release, b release.Binary) v1.Image {
	t.Helper()
	img, err := release.Image(r, b, []byte("a license"), notices(t), roots())
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// contents reads all layers of img, later ones over earlier ones, and tells which layer has what.
func contents(t *testing.T, img v1.Image) (map[string]*tar.Header, map[string][]byte) {
	t.Helper()
	headers, data := map[string]*tar.Header{}, map[string][]byte{}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for in := tar.NewReader(r); ; {
			h, err := in.Next()
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if data[h.Name], err = io.ReadAll(in); err != nil {
				t.Fatal(err)
			}
			headers[h.Name] = h
		}
	}
	return headers, data
}

func TestTheSameBinaryGivesTheSameImage(t *testing.T) {
	first, err := image(t, v123, binary(t, amd64)).Digest()
	if err != nil {
		t.Fatal(err)
	}
	second, err := image(t, v123, binary(t, amd64)).Digest()
	if err != nil || first != second {
		t.Errorf("digests %s and %s, %v", first, second, err)
	}
	other := binary(t, amd64)
	other.Data = []byte("another program")
	if third, err := image(t, v123, other).Digest(); err != nil || third == first {
		t.Errorf("another program gives the same digest %s, %v", third, err)
	}
}

func TestTheImageRunsAsNobodyAndStartsTheProgram(t *testing.T) {
	img := image(t, v123, binary(t, arm64))
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.Config.User != "65532:65532" || strings.Join(c.Config.Entrypoint, " ") != "/usr/bin/sluice" || len(c.Config.Cmd) > 0 {
		t.Errorf("user %q, entrypoint %q, command %q", c.Config.User, c.Config.Entrypoint, c.Config.Cmd)
	}
	if c.OS != "linux" || c.Architecture != "arm64" || !c.Created.Equal(v123.Time) || c.Config.Labels["org.opencontainers.image.revision"] != "0123abcd" {
		t.Errorf("for %s/%s of %s, labels %v", c.OS, c.Architecture, c.Created, c.Config.Labels)
	}
}

func TestTheImageHoldsTheProgramAndLittleElse(t *testing.T) {
	headers, data := contents(t, image(t, v123, binary(t, amd64)))
	if string(data["usr/bin/sluice"]) != "a small program" {
		t.Errorf("program %q", data["usr/bin/sluice"])
	}
	if !bytes.Equal(data["usr/share/licenses/sluice/THIRD_PARTY_NOTICES"], notices(t).Text()) {
		t.Error("the licences of what is linked are not in the image")
	}
	modes := map[string]int64{"usr/bin/sluice": 0o755, "tmp/": 0o1777, "etc/passwd": 0o644, release.SBOMPath[1:]: 0o644}
	for name, h := range headers {
		if want, ok := modes[name]; ok && h.Mode != want {
			t.Errorf("%s has mode %o, want %o", name, h.Mode, want)
		}
		if h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(v123.Time) || h.Uname != "" {
			t.Errorf("%s belongs to %d:%d (%s) and is of %s", name, h.Uid, h.Gid, h.Uname, h.ModTime)
		}
		if h.Mode&0o002 != 0 && name != "tmp/" {
			t.Errorf("%s can be written by all", name)
		}
		delete(modes, name)
	}
	if len(modes) > 0 || len(headers) > 20 {
		t.Errorf("missing: %v; in all %d entries", modes, len(headers))
	}
	if !strings.Contains(string(data["etc/passwd"]), "nonroot:x:65532:65532:") {
		t.Errorf("passwd %q", data["etc/passwd"])
	}
}

func TestTheImageTrustsThePinnedRoots(t *testing.T) {
	_, data := contents(t, image(t, v123, binary(t, amd64)))
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data[release.RootsPath[1:]]) {
		t.Fatal("no certificate in the bundle")
	}
	n := bytes.Count(data[release.RootsPath[1:]], []byte("BEGIN CERTIFICATE"))
	if n < 100 || n > 250 {
		t.Errorf("%d root certificates", n)
	}
}

func TestTheImageListsEveryModuleThatIsLinked(t *testing.T) {
	b := binary(t, amd64)
	if len(b.Info.Deps) != 2 {
		t.Fatalf("%d modules are linked, want x/term and x/sys", len(b.Info.Deps))
	}
	_, data := contents(t, image(t, v123, b))
	versions := readSBOM(t, data[release.SBOMPath[1:]])
	for _, m := range b.Info.Deps {
		if versions[m.Path] != m.Version {
			t.Errorf("%s is listed at %q, linked at %s", m.Path, versions[m.Path], m.Version)
		}
	}
	for _, name := range []string{"stdlib", "golang.org/x/crypto/x509roots/fallback"} {
		if versions[name] == "" {
			t.Errorf("%s is not listed", name)
		}
	}
	if versions["sluice"] != v123.Version {
		t.Errorf("sluice is listed at %q", versions["sluice"])
	}
}

func TestAnImageIsForLinux(t *testing.T) {
	if _, err := release.Image(v123, binary(t, release.Target{OS: "darwin", Arch: "arm64"}), nil, notices(t), roots()); err == nil {
		t.Error("an image for darwin was made")
	}
}

func TestTheWrittenImageIsWholeAndTheSameTwice(t *testing.T) {
	write := func(dir string) []byte {
		index := release.Index(map[release.Target]v1.Image{amd64: image(t, v123, binary(t, amd64)), arm64: image(t, v123, binary(t, arm64))})
		path, err := release.WriteImage(dir, v123, index)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(path) != "sluice_v1.2.3_build.4_image.tar" {
			t.Errorf("archive %s", path)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	dir := t.TempDir()
	first := write(dir)
	if err := os.WriteFile(filepath.Join(dir, "image", "stray"), []byte("of an earlier run"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(write(dir), first) || !bytes.Equal(write(t.TempDir()), first) {
		t.Error("the archive differs from one run to the next")
	}
	top, err := layout.ImageIndexFromPath(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(top); err != nil {
		t.Error(err)
	}
	m, err := top.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		t.Fatalf("index %v, %v", m, err)
	}
	if name := m.Manifests[0].Annotations["io.containerd.image.name"]; name != "ghcr.io/sluice-gitops/sluice:v1.2.3_build.4" {
		t.Errorf("the image is called %q", name)
	}
	inner, err := top.ImageIndex(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	im, err := inner.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal([]*v1.Platform{im.Manifests[0].Platform, im.Manifests[1].Platform})
	if string(got) != `[{"architecture":"amd64","os":"linux"},{"architecture":"arm64","os":"linux"}]` {
		t.Errorf("platforms %s", got)
	}
}
