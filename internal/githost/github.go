package githost

import (
	"context"
	"net/http"

	"github.com/google/go-github/v87/github"
)

// gitHub is GitHub, or an Enterprise Server.
type gitHub struct {
	host   string
	client *github.Client
}

// GitHub returns github.com, or the Enterprise Server that the options name.
func GitHub(o Options) (Host, error) {
	c, err := o.client()
	if err != nil {
		return nil, err
	}
	opts := []github.ClientOptionsFunc{github.WithHTTPClient(c), github.WithAuthToken(o.Token), github.WithUserAgent("sluice")}
	if host := o.hostname("github.com"); host != "github.com" {
		opts = append(opts, github.WithEnterpriseURLs("https://"+host+"/api/v3/", "https://"+host+"/api/uploads/"))
	}
	client, err := github.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	return &gitHub{o.hostname("github.com"), client}, nil
}

func (h *gitHub) User() string { return "git" }

func (h *gitHub) explain(res *github.Response, doing string, err error) error {
	if err == nil {
		return nil
	}
	status := 0
	if res != nil && res.Response != nil {
		status = res.StatusCode
	}
	return explainStatus(h.host, status, doing, err)
}

func (h *gitHub) Ensure(ctx context.Context, r Repository) (Found, error) {
	repo, res, err := h.client.Repositories.Get(ctx, r.Owner, r.Name)
	created := res != nil && res.Response != nil && res.StatusCode == http.StatusNotFound
	if created {
		if err := r.refuseMissing(h.host); err != nil {
			return Found{}, err
		}
		owner := r.Owner
		if r.Personal {
			owner = "" // the token's own
		}
		repo, res, err = h.client.Repositories.Create(ctx, owner, &github.Repository{Name: &r.Name, Private: &r.Private})
		if err != nil {
			return Found{}, h.explain(res, "making repository "+r.Owner+"/"+r.Name, err)
		}
	}
	if err != nil {
		return Found{}, h.explain(res, "looking for repository "+r.Owner+"/"+r.Name, err)
	}
	if !created {
		if err := h.reconcile(ctx, r, repo); err != nil {
			return Found{}, err
		}
	}
	if err := h.teams(ctx, r); err != nil {
		return Found{}, err
	}
	return Found{HTTPS: repo.GetCloneURL(), SSH: sshURL(repo.GetSSHURL()), Created: created}, nil
}

func (h *gitHub) reconcile(ctx context.Context, r Repository, is *github.Repository) error {
	if !r.Reconcile || r.FindOnly || is.GetPrivate() == r.Private {
		return nil
	}
	_, res, err := h.client.Repositories.Edit(ctx, r.Owner, r.Name, &github.Repository{Private: &r.Private})
	return h.explain(res, "setting the repository's visibility", err)
}

func (h *gitHub) teams(ctx context.Context, r Repository) error {
	if r.FindOnly {
		return nil
	}
	for _, t := range r.Teams {
		access := t.Access
		if access == "" {
			access = "maintain"
		}
		res, err := h.client.Teams.AddTeamRepoBySlug(ctx, r.Owner, t.Name, r.Owner, r.Name, &github.TeamAddTeamRepoOptions{Permission: access})
		if err != nil {
			return h.explain(res, "giving team "+t.Name+" access", err)
		}
	}
	return nil
}

func (h *gitHub) DeployKey(ctx context.Context, r Repository, title, public string, write bool) error {
	keys, res, err := h.client.Repositories.ListKeys(ctx, r.Owner, r.Name, &github.ListOptions{PerPage: 100})
	if err != nil {
		return h.explain(res, "listing deploy keys", err)
	}
	for _, k := range keys {
		if sameKey(k.GetKey(), public) {
			return nil
		}
	}
	readOnly := !write
	_, res, err = h.client.Repositories.CreateKey(ctx, r.Owner, r.Name, &github.Key{Title: &title, Key: &public, ReadOnly: &readOnly})
	return h.explain(res, "registering the deploy key", err)
}
