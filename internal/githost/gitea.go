package githost

import (
	"context"
	"net/http"
	"net/url"
)

// gitea is a Gitea or Forgejo server. Its client library brings HTTP signatures and Pageant along for four calls.
type gitea struct{ rest }

// Gitea returns gitea.com, or the Gitea or Forgejo server that the options name.
func Gitea(o Options) (Host, error) {
	c, err := o.client()
	if err != nil {
		return nil, err
	}
	host := o.hostname("gitea.com")
	return &gitea{rest{host: host, base: "https://" + host + "/api/v1", client: c, sign: func(r *http.Request) { r.Header.Set("Authorization", "token "+o.Token) }}}, nil
}

func (h *gitea) User() string { return "git" }

func (h *gitea) repo(r Repository) string {
	return "/repos/" + url.PathEscape(r.Owner) + "/" + url.PathEscape(r.Name)
}

func (h *gitea) Ensure(ctx context.Context, r Repository) (Found, error) {
	for _, t := range r.Teams {
		if t.Access != "" {
			return Found{}, noSuch(h.host, "the access of a team is settled for the team, not for a repository", "--team "+t.Name)
		}
	}
	var repo struct {
		Clone   string `json:"clone_url"`
		SSH     string `json:"ssh_url"`
		Private bool   `json:"private"`
	}
	missing, err := h.call(ctx, http.MethodGet, h.repo(r), nil, &repo, "looking for repository "+r.Owner+"/"+r.Name)
	if err != nil {
		return Found{}, err
	}
	if missing {
		if err := r.refuseMissing(h.host); err != nil {
			return Found{}, err
		}
		path := "/orgs/" + url.PathEscape(r.Owner) + "/repos"
		if r.Personal {
			path = "/user/repos"
		}
		in := map[string]any{"name": r.Name, "private": r.Private, "auto_init": false}
		if err := h.must(ctx, http.MethodPost, path, in, &repo, "making repository "+r.Owner+"/"+r.Name); err != nil {
			return Found{}, err
		}
	}
	if !missing && r.Reconcile && !r.FindOnly && repo.Private != r.Private {
		if err := h.must(ctx, http.MethodPatch, h.repo(r), map[string]any{"private": r.Private}, nil, "setting the repository's visibility"); err != nil {
			return Found{}, err
		}
	}
	return Found{HTTPS: repo.Clone, SSH: sshURL(repo.SSH), Created: missing}, h.teams(ctx, r)
}

// teams lets teams in. What a team may do is the team's own, the same for all its repositories.
func (h *gitea) teams(ctx context.Context, r Repository) error {
	for _, t := range r.Teams {
		if r.FindOnly {
			return nil
		}
		if err := h.must(ctx, http.MethodPut, h.repo(r)+"/teams/"+url.PathEscape(t.Name), nil, nil, "giving team "+t.Name+" access"); err != nil {
			return err
		}
	}
	return nil
}

func (h *gitea) DeployKey(ctx context.Context, r Repository, title, public string, write bool) error {
	var keys []struct {
		Key string `json:"key"`
	}
	if err := h.must(ctx, http.MethodGet, h.repo(r)+"/keys", nil, &keys, "listing deploy keys"); err != nil {
		return err
	}
	for _, k := range keys {
		if sameKey(k.Key, public) {
			return nil
		}
	}
	in := map[string]any{"title": title, "key": public, "read_only": !write}
	return h.must(ctx, http.MethodPost, h.repo(r)+"/keys", in, nil, "registering the deploy key")
}
