package githost

import (
	"context"
	"net/http"
	"net/url"
)

// gitLab is gitlab.com, or a server of one's own. Its client library would take google/cel-go to another version than
// the API server's; bootstrap needs five calls.
type gitLab struct{ rest }

// GitLab returns gitlab.com, or the server that the options name.
func GitLab(o Options) (Host, error) {
	c, err := o.client()
	if err != nil {
		return nil, err
	}
	host := o.hostname("gitlab.com")
	return &gitLab{rest{host: host, base: "https://" + host + "/api/v4", client: c, sign: func(r *http.Request) { r.Header.Set("PRIVATE-TOKEN", o.Token) }}}, nil
}

func (h *gitLab) User() string { return "git" }

type gitLabProject struct {
	ID   int64  `json:"id"`
	HTTP string `json:"http_url_to_repo"`
	SSH  string `json:"ssh_url_to_repo"`
}

func (h *gitLab) project(r Repository) string {
	return "/projects/" + url.PathEscape(r.Owner+"/"+r.Name)
}

func (h *gitLab) Ensure(ctx context.Context, r Repository) (Found, error) {
	var p gitLabProject
	missing, err := h.call(ctx, http.MethodGet, h.project(r), nil, &p, "looking for project "+r.Owner+"/"+r.Name)
	if err != nil {
		return Found{}, err
	}
	if missing {
		if err := r.refuseMissing(h.host); err != nil {
			return Found{}, err
		}
		var owner struct {
			ID int64 `json:"id"`
		}
		if err := h.must(ctx, http.MethodGet, "/namespaces/"+url.PathEscape(r.Owner), nil, &owner, "looking for the owner "+r.Owner); err != nil {
			return Found{}, err
		}
		visibility := "public"
		if r.Private {
			visibility = "private"
		}
		in := map[string]any{"name": r.Name, "path": r.Name, "namespace_id": owner.ID, "visibility": visibility, "initialize_with_readme": false}
		if err := h.must(ctx, http.MethodPost, "/projects", in, &p, "making project "+r.Owner+"/"+r.Name); err != nil {
			return Found{}, err
		}
	}
	return Found{HTTPS: p.HTTP, SSH: sshURL(p.SSH), Created: missing}, nil
}

func (h *gitLab) DeployKey(ctx context.Context, r Repository, title, public string, write bool) error {
	var keys []struct {
		Key string `json:"key"`
	}
	if err := h.must(ctx, http.MethodGet, h.project(r)+"/deploy_keys?per_page=100", nil, &keys, "listing deploy keys"); err != nil {
		return err
	}
	for _, k := range keys {
		if sameKey(k.Key, public) {
			return nil
		}
	}
	in := map[string]any{"title": title, "key": public, "can_push": write}
	return h.must(ctx, http.MethodPost, h.project(r)+"/deploy_keys", in, nil, "registering the deploy key")
}
