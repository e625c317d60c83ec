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
	"github.com/sluice-gitops/sluice/internal/githost/gitpush"
	"github.com/sluice-gitops/sluice/internal/local/gitexec"
	"github.com/sluice-gitops/sluice/internal/local/gitrepo"
	"github.com/sluice-gitops/sluice/internal/local/state"
	"github.com/sluice-gitops/sluice/internal/onboard"
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

// repository makes the platform's repository where there is none, and bootstraps it: bootstrap's own commit, pushed to
// the platform's Git server. In a user's own repository only the components and the sync are written, and
// kustomization.yaml where there is none. The working copy comes along; the user's changes in it are kept.
func (s *supervisor) repository(ctx context.Context, step *event.Step) (manifests, string, error) {
	rec := s.rec.Get()
	repo := repositoryOf(s.o.Dir, rec.Ports)
	detail := "the sample, its secret sealed for " + rec.Azure.Vault
	_, err := os.Stat(s.o.Dir.Repository())
	found := err == nil
	if errors.Is(err, fs.ErrNotExist) {
		step.Progress("sealing the sample's secret")
		files, err := sampleFiles(ctx, s.sealing)
		if err != nil {
			return manifests{}, "", err
		}
		if _, err := repo.Create(ctx, files, "Add the sample"); err != nil {
			return manifests{}, "", err
		}
	}
	p, err := onboard.Publish(ctx, bootstrapRequest(rec, s.o.Version, repo.Admit, tell(step, s.sink)))
	switch {
	case errors.Is(err, onboard.ErrDoesNotBuild):
		return manifests{broken: err}, "unchanged: its flux-system folder does not build", repo.EnsureWork(ctx)
	case err != nil:
		return manifests{}, "", err
	case p.Changed:
		err = repo.Follow(ctx)
	default:
		err = repo.EnsureWork(ctx)
	}
	switch {
	case found && p.Changed:
		detail = "components and sync brought up to date"
	case found:
		detail = "unchanged"
	}
	return manifests{Published: p}, detail, err
}

// bootstrapRequest is the bootstrap of the platform's repository, which needs no credentials. The sample gets the
// identity's ids; a user's own repository has, or lacks, patches of its own.
func bootstrapRequest(r state.Record, version string, admit func(context.Context, []string) error, say onboard.Say) *onboard.Request {
	url := repositoryURL(r.Ports)
	req := &onboard.Request{
		Remote: gitpush.Remote{URL: url},
		Manifests: bootstrap.Repository{
			Components: bootstrap.Options{Version: version},
			Sync:       bootstrap.SyncOptions{URL: url, Branch: branch, Path: r.Options.Path},
			Sources:    bootstrap.SourcesSluice, // nothing runs here but Sluice, whatever a user's repository brings of Flux
		},
		Commit: gitpush.Change{Message: "Follow this platform: components and sync of Sluice " + version + "\n", AuthorName: author.Name, AuthorEmail: author.Email},
		// The cluster is the platform's own: what a user's repository put there of Flux gives way to what up installs.
		ReplaceFlux: true,
		Admit:       admit,
		Say:         say,
	}
	if r.Options.Repo == "" {
		req.Manifests.Identity = &bootstrap.Identity{ClientID: r.Azure.ClientID, TenantID: r.Azure.TenantID}
	}
	return req
}

// headRevision names the head of the platform's repository as Flux does.
func headRevision(ctx context.Context, d state.Dir) (string, error) {
	out, err := gitexec.Run(ctx, d.Repository(), "rev-parse", "--verify", "refs/heads/"+branch)
	if err != nil {
		return "", err
	}
	return branch + "@sha1:" + strings.TrimSpace(string(out)), nil
}
