package githost

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// gitLab is gitlab.com, or a server of one's own. Its client library would take google/cel-go to another version than
// the API server's; bootstrap needs a few calls.
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

	Visibility string `json:"visibility"`
	Shared     []struct {
		Path  string `json:"group_full_path"`
		Level int    `json:"group_access_level"`
	} `json:"shared_with_groups"`
}

func (h *gitLab) project(r Repository) string {
	return "/projects/" + url.PathEscape(r.Owner+"/"+r.Name)
}

func (h *gitLab) Ensure(ctx context.Context, r Repository) (Found, error) {
	levels, err := h.levels(r.Teams)
	if err != nil {
		return Found{}, err
	}
	var p gitLabProject
	missing, err := h.call(ctx, http.MethodGet, h.project(r), nil, &p, "looking for project "+r.Owner+"/"+r.Name)
	if err != nil {
		return Found{}, err
	}
	visibility := "public"
	switch {
	case r.Internal:
		visibility = "internal"
	case r.Private:
		visibility = "private"
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
		in := map[string]any{"name": r.Name, "path": r.Name, "namespace_id": owner.ID, "visibility": visibility, "initialize_with_readme": false}
		if err := h.must(ctx, http.MethodPost, "/projects", in, &p, "making project "+r.Owner+"/"+r.Name); err != nil {
			return Found{}, err
		}
	}
	if !missing && r.Reconcile && !r.FindOnly && p.Visibility != visibility {
		if err := h.must(ctx, http.MethodPut, h.project(r), map[string]any{"visibility": visibility}, nil, "setting the project's visibility"); err != nil {
			return Found{}, err
		}
	}
	for i, t := range r.Teams {
		if r.FindOnly {
			break
		}
		if err := h.share(ctx, r, p, t.Name, levels[i]); err != nil {
			return Found{}, err
		}
	}
	return Found{HTTPS: p.HTTP, SSH: sshURL(p.SSH), Created: missing}, nil
}

var notInUser = lazyregexp.New(`[^A-Za-z0-9_.+-]`)

// gitLabAccess are the levels that a group can be given, by GitLab's names.
var gitLabAccess = map[string]int{"guest": 10, "reporter": 20, "developer": 30, "maintain": 40, "maintainer": 40}

// levels gives the access of each team as a number.
func (h *gitLab) levels(teams []Team) ([]int, error) {
	var levels []int
	for _, t := range teams {
		level, ok := gitLabAccess[t.Access]
		if t.Access == "" {
			level, ok = gitLabAccess["maintain"], true
		}
		if !ok {
			return nil, noSuch(h.host, "there is no access level "+t.Access, "--team "+t.Name+":maintainer; others are developer, reporter and guest")
		}
		levels = append(levels, level)
	}
	return levels, nil
}

// share gives a group access. One that has another level loses it first: sharing again is refused.
func (h *gitLab) share(ctx context.Context, r Repository, p gitLabProject, group string, level int) error {
	var g struct {
		ID int64 `json:"id"`
	}
	doing := "giving group " + group + " access"
	if err := h.must(ctx, http.MethodGet, "/groups/"+url.PathEscape(group), nil, &g, doing); err != nil {
		return err
	}
	for _, s := range p.Shared {
		if s.Path == group && s.Level == level {
			return nil
		}
		if s.Path == group {
			if err := h.must(ctx, http.MethodDelete, h.project(r)+"/share/"+strconv.FormatInt(g.ID, 10), nil, nil, doing); err != nil {
				return err
			}
		}
	}
	return h.must(ctx, http.MethodPost, h.project(r)+"/share", map[string]any{"group_id": g.ID, "group_access": level}, nil, doing)
}

// DeployToken implements TokenHost. GitLab takes letters, digits and "_-+." in the user's name.
func (h *gitLab) DeployToken(ctx context.Context, r Repository, name string) (user, token string, err error) {
	var out struct {
		User  string `json:"username"`
		Token string `json:"token"`
	}
	in := map[string]any{"name": name, "username": notInUser.ReplaceAllString(name, "-"), "scopes": []string{"read_repository"}}
	err = h.must(ctx, http.MethodPost, h.project(r)+"/deploy_tokens", in, &out, "making the deploy token")
	return out.User, out.Token, err
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
