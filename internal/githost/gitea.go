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
	var repo struct {
		Clone string `json:"clone_url"`
		SSH   string `json:"ssh_url"`
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
	return Found{HTTPS: repo.Clone, SSH: sshURL(repo.SSH), Created: missing}, nil
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
