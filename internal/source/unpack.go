package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// MaxDownload is how many bytes of an archive are downloaded, unless Limits says otherwise.
const MaxDownload = 64 << 20

// Limits bounds what an archive may cost. A zero field is the default named beside it.
type Limits struct {
	Download int64 // bytes over the network; MaxDownload
	Size     int64 // bytes of all files; 256 MiB
	Files    int   // files and directories; 100,000
}

func (l Limits) orDefault() Limits {
	if l.Download <= 0 {
		l.Download = MaxDownload
	}
	if l.Size <= 0 {
		l.Size = 256 << 20
	}
	if l.Files <= 0 {
		l.Files = 100_000
	}
	return l
}

const reasonArtifact = "ArtifactFailed"

func archiveFault(code, seen, why, fix string, err error) error {
	return &fault.Fault{Code: code, Hop: fault.HopGit, Reason: reasonArtifact, Seen: seen, Why: why, Fix: fix, Err: err}
}

// OpenArchive downloads the artifact of another source controller (a gzipped tar) from an http or https address,
// verifies its digest ("sha256:", "sha384:" or "sha512:" and hex digits) before anything of it is looked at, and unpacks
// it in memory. Symbolic and hard links and special files are left out; a name that leads out of the archive, and an
// archive beyond the limits, is a fault. Nothing is written to a disk.
func OpenArchive(ctx context.Context, address, digest string, limits Limits) (Tree, error) {
	limits = limits.orDefault()
	sum, want, err := parseDigest(digest)
	if err != nil {
		return nil, err
	}
	data, err := download(ctx, address, limits.Download)
	if err != nil {
		return nil, err
	}
	sum.Write(data)
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return nil, archiveFault("SLU-GIT-031", "the artifact at "+printable(address)+" does not have the digest that its source states",
			"it was replaced meanwhile, or someone stands in between", "none here: it is tried again", nil)
	}
	return unpack(data, limits)
}

func parseDigest(digest string) (hash.Hash, string, error) {
	algorithm, want, _ := strings.Cut(digest, ":")
	news := map[string]func() hash.Hash{"sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New}[algorithm]
	if news == nil {
		return nil, "", archiveFault("SLU-GIT-031", fmt.Sprintf("the source's artifact has the digest %q", quoted(digest)), "only sha256, sha384 and sha512 can be verified",
			"set --artifact-digest-algo of the controller that makes the artifact", nil)
	}
	return news(), strings.ToLower(want), nil
}

func download(ctx context.Context, address string, limit int64) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, archiveFault("SLU-GIT-032", "the source's artifact has no http address", "", "look at status.artifact.url of the source", nil)
	}
	t := transport(&tls.Config{MinVersion: tls.VersionTLS12}, nil)
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	res, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err()
		}
		return nil, archiveFault("SLU-GIT-032", "the artifact cannot be downloaded from "+u.Host, netReason(err),
			"look whether the controller that serves it runs, and whether a NetworkPolicy lets this one reach it", sealed{err})
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, archiveFault("SLU-GIT-032", fmt.Sprintf("HTTP %d from %s for the artifact", res.StatusCode, u.Host), "", "none here: it is tried again", nil)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, archiveFault("SLU-GIT-032", "the download of the artifact from "+u.Host+" broke off", "", "none here: it is tried again", sealed{err})
	}
	if int64(len(data)) > limit {
		return nil, tooLarge(fmt.Sprintf("it has more than %d bytes", limit))
	}
	return data, nil
}

// netReason is the last part of a network error: what the system said, without address and URL.
func netReason(err error) string {
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return quoted(err.Error())
}

func tooLarge(why string) error {
	return archiveFault("SLU-GIT-033", "the artifact is too large", why, "leave out what need not be in it, or split it", nil)
}

func notArchive(why string) error {
	return archiveFault("SLU-GIT-034", "the artifact is no sound gzipped tar", why, "look at how it was made", nil)
}

// archiveTree is the tree of an unpacked archive.
type archiveTree struct{ *memDir }

// Archived reports whether a tree came out of an archive, so that what its maker left out can't be told from what never
// was there.
func Archived(t Tree) bool {
	_, yes := t.(archiveTree)
	return yes
}

func unpack(data []byte, limits Limits) (Tree, error) {
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, notArchive("it is not gzipped")
	}
	// Headers cost bytes too; what they may come to is bounded by the number of entries.
	stream := &io.LimitedReader{R: zip, N: limits.Size + int64(limits.Files)*4096}
	r := tar.NewReader(stream)
	root, count, left := &memDir{}, 0, limits.Size
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) && stream.N > 0 {
			break
		}
		if err != nil {
			if stream.N <= 0 {
				return nil, tooLarge("it unpacks to more than is allowed")
			}
			return nil, notArchive(quoted(err.Error()))
		}
		if header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeDir {
			continue
		}
		if count++; count > limits.Files {
			return nil, tooLarge(fmt.Sprintf("it holds more than %d files", limits.Files))
		}
		parts, err := archivePath(header.Name)
		if err != nil {
			return nil, err
		}
		if header.Typeflag == tar.TypeDir {
			if _, err := root.makeDir(parts); err != nil {
				return nil, notArchive(quoted(err.Error()))
			}
			continue
		}
		// The size is checked before it is read: a sparse file's holes are not in the stream.
		if left -= header.Size; left < 0 {
			return nil, tooLarge(fmt.Sprintf("it unpacks to more than %d bytes", limits.Size))
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, notArchive(quoted(err.Error()))
		}
		if err := root.add(strings.Join(parts, "/"), content); err != nil {
			return nil, notArchive(quoted(err.Error()))
		}
	}
	root.seal()
	return archiveTree{root}, nil
}

// archivePath cuts an entry's name into its parts. A leading "./" and a slash at the end mean nothing; whatever else
// would have to be cleaned is refused, as is nesting that nobody has.
func archivePath(name string) ([]string, error) {
	clean := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if clean == "" || clean == "." {
		clean = "."
	}
	parts, ok := split(clean)
	if !ok || strings.Contains(name, `\`) || path.IsAbs(name) || len(parts) > 256 {
		return nil, notArchive(fmt.Sprintf("it holds the name %q", quoted(name)))
	}
	return parts, nil
}
