package githost

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// azureDevOps is Azure DevOps Services or Server, by REST 7.1. Its client library was last released in 2024 and asks
// where each call lives first; bootstrap needs three.
type azureDevOps struct{ rest }

// AzureDevOps returns dev.azure.com, or the server that the options name. A Repository's Owner is
// "organisation/project".
func AzureDevOps(o Options) (Host, error) {
	c, err := o.client()
	if err != nil {
		return nil, err
	}
	host := o.hostname("dev.azure.com")
	return &azureDevOps{rest{host: host, base: "https://" + host, client: c, sign: func(r *http.Request) { r.SetBasicAuth("", o.Token) }}}, nil
}

func (h *azureDevOps) User() string { return "git" }

const azureVersion = "?api-version=7.1"

func (h *azureDevOps) Ensure(ctx context.Context, r Repository) (Found, error) {
	org, project, ok := strings.Cut(r.Owner, "/")
	if !ok || strings.Contains(project, "/") {
		return Found{}, &fault.Fault{Code: "SLU-USAGE-068", Hop: fault.HopUsage, Seen: "the owner " + r.Owner + " names no project", Fix: "--owner ORGANISATION/PROJECT"}
	}
	switch {
	case len(r.Teams) > 0:
		return Found{}, noSuch(h.host, "a team's access is given by security groups, not by repository", "leave --team out, and give the team access on the project's page")
	case r.Reconcile:
		return Found{}, noSuch(h.host, "a repository is as visible as its project", "leave --reconcile out, and set it on the project's page")
	}
	org, project = "/"+url.PathEscape(org), url.PathEscape(project)
	repositories := org + "/" + project + "/_apis/git/repositories"
	var repo struct {
		Remote string `json:"remoteUrl"`
		SSH    string `json:"sshUrl"`
	}
	missing, err := h.call(ctx, http.MethodGet, repositories+"/"+url.PathEscape(r.Name)+azureVersion, nil, &repo, "looking for repository "+r.Name)
	if err != nil {
		return Found{}, err
	}
	if missing {
		if err := r.refuseMissing(h.host); err != nil {
			return Found{}, err
		}
		var p struct {
			ID string `json:"id"`
		}
		if err := h.must(ctx, http.MethodGet, org+"/_apis/projects/"+project+azureVersion, nil, &p, "looking for project "+r.Owner); err != nil {
			return Found{}, err
		}
		in := map[string]any{"name": r.Name, "project": map[string]any{"id": p.ID}}
		if err := h.must(ctx, http.MethodPost, repositories+azureVersion, in, &repo, "making repository "+r.Name); err != nil {
			return Found{}, err
		}
	}
	return Found{HTTPS: withoutUser(repo.Remote), SSH: sshURL(repo.SSH), Created: missing}, nil
}

// DeployKey is refused: SSH keys belong to people there, and no public API registers them.
func (h *azureDevOps) DeployKey(context.Context, Repository, string, string, bool) error {
	return &fault.Fault{Code: "SLU-GIT-052", Hop: fault.HopGit, Object: h.host, Seen: "Azure DevOps has no deploy keys", Why: "its SSH keys belong to people", Fix: "repeat the command with --token-auth"}
}

// withoutUser takes the organisation out of a clone URL, where it stands as the user.
func withoutUser(clone string) string {
	u, err := url.Parse(clone)
	if err != nil {
		return clone
	}
	u.User = nil
	return u.String()
}
