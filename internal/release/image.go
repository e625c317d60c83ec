package release

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Where things are in the image.
const (
	Entrypoint = "/usr/bin/sluice"
	SBOMPath   = "/usr/share/sbom/sluice.spdx.json"
	RootsPath  = "/etc/ssl/certs/ca-certificates.crt"
	nonRoot    = 65532 // the user that the image runs as: by number, so that Kubernetes can check runAsNonRoot
)

// Release is what one commit is published as.
type Release struct {
	Version  string    // "v1.2.3", or "dev"
	Revision string    // commit, empty if not known
	Time     time.Time // of the commit: the time of everything that has one
}

// Image puts b, for Linux, into an image of two layers: what a process needs to live (users, root certificates, /tmp),
// which changes rarely, and the program with its bill of materials and licences, which name roots (RootsModule) too.
func Image(r Release, b Binary, license []byte, notices *Notices, roots *debug.Module) (v1.Image, error) {
	if b.Target.OS != "linux" {
		return nil, fmt.Errorf("an image for %s: the controller runs on linux", b.Target)
	}
	if err := notices.covers(b, roots); err != nil {
		return nil, err
	}
	sbom, err := SBOM(b, r.Version, r.Time, roots)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.ConfigFile(img, config(r, b.Target))
	if err != nil {
		return nil, err
	}
	for _, l := range []struct {
		what  string
		files []File
	}{
		{"users, root certificates, /tmp", ground()},
		{"sluice " + r.Version, []File{
			folder("usr/"), folder("usr/bin/"), folder("usr/share/"), folder("usr/share/sbom/"), folder("usr/share/licenses/"), folder("usr/share/licenses/sluice/"),
			{Name: Entrypoint[1:], Mode: 0o755, Data: b.Data},
			{Name: SBOMPath[1:], Mode: 0o644, Data: sbom},
			{Name: "usr/share/licenses/sluice/LICENSE", Mode: 0o644, Data: license},
			{Name: "usr/share/licenses/sluice/" + NoticesFile, Mode: 0o644, Data: notices.Text()},
		}},
	} {
		layer, err := newLayer(l.files, r.Time)
		if err != nil {
			return nil, fmt.Errorf("layer %q: %w", l.what, err)
		}
		img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: types.OCILayer,
			History: v1.History{Created: v1.Time{Time: r.Time.UTC()}, CreatedBy: l.what}})
		if err != nil {
			return nil, err
		}
	}
	return img, nil
}

func config(r Release, t Target) *v1.ConfigFile {
	return &v1.ConfigFile{
		OS: t.OS, Architecture: t.Arch, Created: v1.Time{Time: r.Time.UTC()},
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: []string{Entrypoint},
			User:       fmt.Sprintf("%d:%d", nonRoot, nonRoot),
			WorkingDir: "/",
			Env:        []string{"PATH=/usr/bin", "SSL_CERT_FILE=" + RootsPath, "HOME=/tmp"},
			Labels:     r.labels(),
		},
	}
}

// labels are the image specification's predefined annotation keys.
func (r Release) labels() map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":    "sluice",
		"org.opencontainers.image.version":  r.Version,
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.source":   "https://github.com/sluice-gitops/sluice",
	}
	if r.Revision != "" {
		labels["org.opencontainers.image.revision"] = r.Revision
	}
	return labels
}

func folder(name string) File { return File{Name: name, Mode: 0o755} }

func ground() []File {
	return []File{
		folder("etc/"), folder("etc/ssl/"), folder("etc/ssl/certs/"),
		{Name: "tmp/", Mode: 0o1777},
		{Name: "etc/passwd", Mode: 0o644, Data: fmt.Appendf(nil, "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:%d:%d:nonroot:/tmp:/sbin/nologin\n", nonRoot, nonRoot)},
		{Name: "etc/group", Mode: 0o644, Data: fmt.Appendf(nil, "root:x:0:\nnonroot:x:%d:\n", nonRoot)},
		{Name: RootsPath[1:], Mode: 0o644, Data: Roots()},
	}
}

func newLayer(files []File, at time.Time) (v1.Layer, error) {
	var b bytes.Buffer
	if err := Tar(&b, files, at); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching,
		tarball.WithCompressionLevel(gzip.DefaultCompression))
}

// Index joins the images of several processors under one name.
func Index(images map[Target]v1.Image) v1.ImageIndex {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, t := range Targets {
		if img := images[t]; img != nil {
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img,
				Descriptor: v1.Descriptor{MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{OS: t.OS, Architecture: t.Arch}}})
		}
	}
	return index
}

// Tag is the version as an image tag: build metadata follows "_" for want of "+".
func (r Release) Tag() string { return strings.ReplaceAll(r.Version, "+", "_") }
