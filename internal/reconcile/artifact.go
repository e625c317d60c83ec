package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/source"
)

// Artifacts publishes revisions as tar.gz files under Flux's URL shape, for helm-controller, the flux CLI and whoever
// else reads status.artifact. Our own Kustomizations never read them.
//
// Layout: <dir>/gitrepository/<namespace>/<name>/<commit>.tar.gz; one file a revision, the previous one is kept until
// the next so that a consumer that saw the older status still finds it.
type Artifacts struct {
	Dir  string // root folder
	Host string // advertised host and port, without scheme
}

// Store writes rev's archive unless it is there already and returns how status refers to it.
func (a *Artifacts) Store(r *sourcev1.GitRepository, rev *source.Revision) (*meta.Artifact, error) {
	art, file := a.describe(r, rev)
	if old := r.Status.Artifact; old != nil && old.Revision == rev.Name && old.Digest != "" && old.URL == art.URL {
		if st, err := os.Stat(file); err == nil && old.Size != nil && st.Size() == *old.Size {
			return old, nil
		}
	}
	return a.Renew(r, rev)
}

func (a *Artifacts) describe(r *sourcev1.GitRepository, rev *source.Revision) (art *meta.Artifact, file string) {
	rel := path.Join("gitrepository", r.Namespace, r.Name, rev.Commit.Hash+".tar.gz")
	return &meta.Artifact{
		Path: rel, URL: "http://" + a.Host + "/" + rel, Revision: rev.Name,
		LastUpdateTime: metav1.NewTime(time.Now()),
	}, filepath.Join(a.Dir, filepath.FromSlash(rel))
}

// Renew is Store for a revision that holds something else than when it was stored: another spec.ignore, other includes.
func (a *Artifacts) Renew(r *sourcev1.GitRepository, rev *source.Revision) (*meta.Artifact, error) {
	art, file := a.describe(r, rev)
	size, digest, err := writeArchive(file, rev)
	if err != nil {
		return nil, err
	}
	art.Size, art.Digest = &size, "sha256:"+digest
	keep := []string{filepath.Base(file)}
	if r.Status.Artifact != nil {
		keep = append(keep, path.Base(r.Status.Artifact.Path))
	}
	return art, prune(filepath.Dir(file), keep)
}

// Remove deletes everything that was published for a repository.
func (a *Artifacts) Remove(namespace, name string) error {
	return os.RemoveAll(filepath.Join(a.Dir, "gitrepository", namespace, name))
}

// writeArchive writes beside the target and renames, so that a full disk or a crash never leaves a cut archive under
// the published name.
func writeArchive(file string, rev *source.Revision) (size int64, digest string, err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return 0, "", err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".archive-*")
	if err != nil {
		return 0, "", err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	sum := sha256.New()
	count := &counter{}
	if err = rev.WriteArchive(io.MultiWriter(tmp, sum, count)); err != nil {
		return 0, "", fmt.Errorf("archive %s: %w", rev.Name, err)
	}
	if err = tmp.Close(); err != nil {
		return 0, "", err
	}
	if err = os.Rename(tmp.Name(), file); err != nil {
		return 0, "", err
	}
	return count.n, hex.EncodeToString(sum.Sum(nil)), nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

func prune(dir string, keep []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		kept := false
		for _, k := range keep {
			kept = kept || e.Name() == k
		}
		if !kept {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// Handler serves the archives, and nothing else of the folder: no listing, no temporary file, no other path.
func (a *Artifacts) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		p := strings.TrimPrefix(path.Clean(req.URL.Path), "/")
		parts := strings.Split(p, "/")
		if (req.Method != http.MethodGet && req.Method != http.MethodHead) || len(parts) != 4 ||
			parts[0] != "gitrepository" || !strings.HasSuffix(p, ".tar.gz") || strings.HasPrefix(parts[3], ".") {
			http.NotFound(w, req)
			return
		}
		http.ServeFile(w, req, filepath.Join(a.Dir, filepath.FromSlash(p)))
	})
}
