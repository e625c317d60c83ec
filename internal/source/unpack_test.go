package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// tarball packs headers; a regular one's content is its Linkname.
func tarball(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
			h.Size = int64(len(content))
		}
		check(t, w.WriteHeader(&h))
		_, err := io.WriteString(w, content)
		check(t, err)
	}
	check(t, w.Close())
	check(t, z.Close())
	return b.Bytes()
}

func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: content, Mode: 0o600}
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// served answers every request with data.
func served(t testing.TB, data []byte) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/x.tar.gz" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/x.tar.gz"
}

func TestArchiveIsUnpackedInMemoryWithoutLinks(t *testing.T) {
	data := tarball(t, tar.Header{Typeflag: tar.TypeDir, Name: "./"}, file("./a/b.yaml", "one"), file("c", "two"), file("c", "three"), file(".sops.yaml", "kept"),
		tar.Header{Typeflag: tar.TypeDir, Name: "empty/"}, tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "/etc/passwd"},
		tar.Header{Typeflag: tar.TypeLink, Name: "hard", Linkname: "c"}, tar.Header{Typeflag: tar.TypeFifo, Name: "pipe"})
	sum := sha512.Sum512(data)
	for _, digest := range []string{digestOf(data), "sha512:" + hex.EncodeToString(sum[:])} {
		tree, err := OpenArchive(t.Context(), served(t, data), digest, Limits{})
		check(t, err)
		got := map[string]string{}
		walk(t, Artifact(tree), ".", got)
		if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, []string{".sops.yaml", "a/b.yaml", "c"}) {
			t.Errorf("files %v", names)
		}
		if c, _, _ := tree.ReadFile("c"); string(c) != "three" {
			t.Errorf("c = %q, want the last of two", c)
		}
		if e, err := Stat(tree, "empty"); err != nil || !e.Dir {
			t.Errorf("empty: %+v, %v", e, err)
		}
	}
}

func TestArchiveOfARevisionComesBackWhole(t *testing.T) {
	from := MapTree(map[string]string{"a/b": "1", "c": "2", "d/e/f": strings.Repeat("x", 100_000)})
	var b bytes.Buffer
	check(t, (&Revision{Tree: from}).WriteArchive(&b))
	to, err := OpenArchive(t.Context(), served(t, b.Bytes()), digestOf(b.Bytes()), Limits{})
	check(t, err)
	x, _ := Stat(from, ".")
	y, _ := Stat(to, ".")
	if x.Hash != y.Hash {
		t.Error("the tree is another one")
	}
}

func TestHostileArchivesAreRefused(t *testing.T) {
	small := Limits{Download: 1 << 20, Size: 1 << 16, Files: 10}
	var many []tar.Header
	for _, n := range strings.Split("abcdefghijkl", "") {
		many = append(many, file(n, ""))
	}
	huge := tarball(t, file("zeros", strings.Repeat("\x00", 1<<20)))
	good := tarball(t, file("a", "x"))
	for _, tt := range []struct {
		name string
		data []byte
		code string
	}{
		{"climbing name", tarball(t, file("../x", "")), "SLU-GIT-034"},
		{"climbing inside", tarball(t, file("a/../../x", "")), "SLU-GIT-034"},
		{"absolute name", tarball(t, file("/etc/x", "")), "SLU-GIT-034"},
		{"backslash", tarball(t, file(`a\b`, "")), "SLU-GIT-034"},
		{"climbing directory", tarball(t, tar.Header{Typeflag: tar.TypeDir, Name: "../"}), "SLU-GIT-034"},
		{"file over directory", tarball(t, file("a/b", ""), file("a", "")), "SLU-GIT-034"},
		{"directory over file", tarball(t, file("a", ""), file("a/b", "")), "SLU-GIT-034"},
		{"too deep", tarball(t, file(strings.Repeat("a/", 300)+"x", "")), "SLU-GIT-034"},
		{"too many files", tarball(t, many...), "SLU-GIT-033"},
		{"gzip bomb", huge, "SLU-GIT-033"},
		{"not gzipped", []byte("hello"), "SLU-GIT-034"},
		{"gzipped, no tar", gzipped(t, bytes.Repeat([]byte("junk"), 1000)), "SLU-GIT-034"},
		{"cut short", gzipped(t, ungzipped(t, good)[:700]), ""},
		{"too large to download", make([]byte, 2<<20), "SLU-GIT-033"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := OpenArchive(t.Context(), served(t, tt.data), digestOf(tt.data), small)
			var f *fault.Fault
			if tt.code == "" && err == nil {
				return // a whole entry without the end mark is a tar to most readers
			}
			if !errors.As(err, &f) || tt.code != "" && f.Code != tt.code || f.Reason != reasonArtifact || f.Fix == "" {
				t.Errorf("error %v, want %s", err, tt.code)
			}
		})
	}
	for name, call := range map[string]func() error{
		"digest":       func() error { _, err := OpenArchive(t.Context(), served(t, good), digestOf(huge), small); return err },
		"no algorithm": func() error { _, err := OpenArchive(t.Context(), served(t, good), "md5:00", small); return err },
		"no digest":    func() error { _, err := OpenArchive(t.Context(), served(t, good), "", small); return err },
		"missing": func() error {
			_, err := OpenArchive(t.Context(), served(t, good)+"x", digestOf(good), small)
			return err
		},
		"protocol": func() error {
			_, err := OpenArchive(t.Context(), "file:///etc/passwd", digestOf(good), small)
			return err
		},
		"nobody there": func() error {
			_, err := OpenArchive(t.Context(), "http://127.0.0.1:1/x", digestOf(good), small)
			return err
		},
	} {
		var f *fault.Fault
		if err := call(); !errors.As(err, &f) || f.Reason != reasonArtifact {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func gzipped(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(data)
	check(t, err)
	check(t, z.Close())
	return b.Bytes()
}

func ungzipped(t testing.TB, data []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(data))
	check(t, err)
	out, err := io.ReadAll(z)
	check(t, err)
	return out
}

// FuzzArchive feeds tars: nothing may panic, pass the limits, or give a path that leads out.
func FuzzArchive(f *testing.F) {
	f.Add(ungzipped(f, tarball(f, file("a/b", "x"), tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "a"})))
	f.Fuzz(func(t *testing.T, data []byte) {
		limits := Limits{Download: 1 << 20, Size: 1 << 16, Files: 20}
		tree, err := unpack(gzipped(t, data), limits)
		if err != nil {
			var known *fault.Fault
			if !errors.As(err, &known) {
				t.Errorf("not a fault: %v", err)
			}
			return
		}
		got, size := map[string]string{}, 0
		walk(t, tree, ".", got)
		for p := range got {
			data, _, err := tree.ReadFile(p)
			check(t, err)
			size += len(data)
		}
		if len(got) > limits.Files || size > 1<<16 {
			t.Errorf("%d files of %d bytes", len(got), size)
		}
	})
}
