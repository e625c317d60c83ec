package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/gitexec"
	"github.com/sluice-gitops/sluice/internal/local/gitrepo"
	"github.com/sluice-gitops/sluice/internal/local/state"
	"github.com/sluice-gitops/sluice/internal/source"
)

// author is whom the platform's own commits are by.
var author = gitrepo.Author{Name: "Sluice", Email: "sluice@localhost"}

func repositoryOf(d state.Dir, ports state.Ports) gitrepo.Repo {
	return gitrepo.Repo{Bare: d.Repository(), Work: d.WorkingCopy(), Origin: repositoryURL(ports), Author: author}
}

// takeOver brings the committed HEAD of the user's repository into the platform's, when this `up` names it or the
// platform has none of it yet. It is a part of preflight: a repository that can't be used is told before anything is
// started. What is left out because it isn't committed is a warning.
func takeOver(ctx context.Context, o Options, r state.Record) error {
	if r.Options.Repo == "" {
		if r.Options.Path != DefaultPath {
			return &fault.Fault{Code: "SLU-USAGE-010", Hop: fault.HopUsage, Object: "--path " + r.Options.Path, Seen: "the sample has no such folder",
				Why: "its only cluster folder is " + DefaultPath, Fix: "name your own repository with --repo DIR, or leave --path out"}
		}
		return nil
	}
	if _, err := os.Stat(o.Dir.Repository()); o.Repo == "" && err == nil {
		return nil
	}
	got, err := repositoryOf(o.Dir, r.Ports).Import(ctx, r.Options.Repo, r.Options.Path)
	if err != nil {
		return err
	}
	if n := len(got.Uncommitted); n > 0 {
		event.Warning(o.Sink, fmt.Sprintf("%s: %s left out, because only what is committed counts: %s", r.Options.Repo, plural(n, "uncommitted change"),
			strings.Join(got.Uncommitted[:min(n, 5)], ", ")))
	}
	return nil
}

// repository makes or updates the platform's repository and returns its head as a tree. In a user's own repository only
// the components and the sync are written, and kustomization.yaml where there is none.
func (s *supervisor) repository(ctx context.Context, step *event.Step) (source.Tree, string, error) {
	rec := s.rec.Get()
	repo := repositoryOf(s.o.Dir, rec.Ports)
	detail := "the sample, its secret sealed for " + rec.Azure.Vault
	if _, err := os.Stat(s.o.Dir.Repository()); errors.Is(err, fs.ErrNotExist) {
		step.Progress("sealing the sample's secret")
		files, err := sampleFiles(ctx, rec, s.o.Version, s.sealing)
		if err != nil {
			return nil, "", err
		}
		if _, err := repo.Create(ctx, files, "Add the sample"); err != nil {
			return nil, "", err
		}
	} else {
		changed, err := s.refresh(ctx, repo, rec)
		if err != nil {
			return nil, "", err
		}
		detail = "unchanged"
		if changed {
			detail = "components and sync brought up to date"
		}
	}
	step.Progress("reading the head")
	head, err := s.fetch(ctx, rec)
	if err != nil {
		return nil, "", err
	}
	return head.Tree, detail, nil
}

// refresh commits the components and the sync where they differ from what this cluster and this version need.
func (s *supervisor) refresh(ctx context.Context, repo gitrepo.Repo, rec state.Record) (bool, error) {
	head, err := s.fetch(ctx, rec)
	if err != nil {
		return false, err
	}
	var id *bootstrap.Identity
	if rec.Options.Repo == "" {
		id = identityOf(rec.Azure)
	}
	files, err := fluxSystem(rec, s.o.Version, id, treeFS{head.Tree})
	if err != nil {
		return false, err
	}
	return repo.Commit(ctx, files, nil, "Follow this platform: components and sync of Sluice "+s.o.Version)
}

// fetch reads the head as the controller will: over HTTP, into a mirror of its own.
func (s *supervisor) fetch(ctx context.Context, rec state.Record) (*source.Revision, error) {
	m, err := source.OpenMirror(s.o.Dir.Node("bootstrap"))
	if err != nil {
		return nil, err
	}
	return m.Fetch(ctx, source.Spec{URL: repositoryURL(rec.Ports), Branch: branch}, nil)
}

// treeFS lets bootstrap read single files of a revision.
type treeFS struct{ tree source.Tree }

// ReadFile implements fs.ReadFileFS.
func (t treeFS) ReadFile(name string) ([]byte, error) {
	data, _, err := t.tree.ReadFile(name)
	return data, err
}

// Open implements fs.FS, for ReadFile's sake only.
func (t treeFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
}

// headRevision names the head of the platform's repository as Flux does.
func headRevision(ctx context.Context, d state.Dir) (string, error) {
	out, err := gitexec.Run(ctx, d.Repository(), "rev-parse", "--verify", "refs/heads/"+branch)
	if err != nil {
		return "", err
	}
	return branch + "@sha1:" + strings.TrimSpace(string(out)), nil
}
