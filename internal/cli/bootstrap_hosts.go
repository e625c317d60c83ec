package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/githost"
)

// hostBootstrap holds the flags of the commands that are named for a Git host.
type hostBootstrap struct {
	*bootstrapFlags
	kind                        hostKind
	owner, repository, hostname string
	personal, private, writable bool
}

// hostKind is what differs between those commands.
type hostKind struct {
	use, name, token, owner, example string
	new                              func(githost.Options) (githost.Host, error)
}

var hostKinds = []hostKind{
	{use: "github", name: "GitHub", token: "GITHUB_TOKEN", owner: "user or organisation", new: githost.GitHub,
		example: "GITHUB_TOKEN=… sluice bootstrap github --owner team --repository fleet --path ./gitops/aks"},
	{use: "gitlab", name: "GitLab", token: "GITLAB_TOKEN", owner: "user or group, with its parents", new: githost.GitLab,
		example: "GITLAB_TOKEN=… sluice bootstrap gitlab --owner group/team --repository fleet --path ./gitops/aks"},
	{use: "gitea", name: "Gitea and Forgejo", token: "GITEA_TOKEN", owner: "user or organisation", new: githost.Gitea,
		example: "GITEA_TOKEN=… sluice bootstrap gitea --hostname git.example.org --owner team --repository fleet --path ./gitops/aks"},
	{use: "azure-devops", name: "Azure DevOps", token: "AZURE_DEVOPS_EXT_PAT", owner: "ORGANISATION/PROJECT", new: githost.AzureDevOps,
		example: "AZURE_DEVOPS_EXT_PAT=… sluice bootstrap azure-devops --owner org/project --repository fleet --path ./gitops/aks --token-auth"},
}

func newBootstrapHosts(b *bootstrapFlags) (cmds []*cobra.Command) {
	for _, kind := range hostKinds {
		h := &hostBootstrap{bootstrapFlags: b, kind: kind}
		cmd := &cobra.Command{Use: kind.use, Short: "Bootstrap from a repository on " + kind.name, Args: none, Example: "  " + kind.example,
			Long: "The repository is made if it is missing. The push signs in with the token in " + kind.token + "; the cluster gets a deploy key\n" +
				"of its own, without write access, or with --token-auth the token.",
			RunE: func(c *cobra.Command, _ []string) error {
				return h.run(c, func(ctx context.Context) (*where, error) { return h.find(ctx, c) })
			}}
		f := cmd.Flags()
		f.StringVar(&h.owner, "owner", "", kind.owner+" (required)")
		f.StringVar(&h.repository, "repository", "", "the repository's name (required)")
		f.StringVar(&h.hostname, "hostname", "", "host of your own server, instead of the public service")
		f.BoolVar(&h.personal, "personal", false, "the owner is a user")
		f.BoolVar(&h.private, "private", true, "make a missing repository private")
		f.BoolVar(&h.writable, "read-write-key", false, "let the cluster's deploy key push")
		cmds = append(cmds, cmd)
	}
	return cmds
}

// find makes sure of the repository, and of the cluster's access to it.
func (h *hostBootstrap) find(ctx context.Context, c *cobra.Command) (*where, error) {
	token := h.streams.Env(h.kind.token)
	switch {
	case h.owner == "" || h.repository == "":
		return nil, usage(c, errors.New("--owner and --repository are required"))
	case token == "":
		return nil, usage(c, fmt.Errorf("the token is missing: put it into %s", h.kind.token))
	}
	o := githost.Options{Hostname: h.hostname, Token: token}
	var err error
	if h.caFile != "" {
		if o.CAFile, err = readFlagFile("--ca-file", h.caFile); err != nil {
			return nil, err
		}
	}
	host, err := h.kind.new(o)
	if err != nil {
		return nil, err
	}
	r := githost.Repository{Owner: h.owner, Name: h.repository, Personal: h.personal, Private: h.private}
	found, err := h.ensure(ctx, host, r)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(found.HTTPS)
	if err != nil || u.Host == "" {
		return nil, usage(c, fmt.Errorf("the host gives %q as the repository's address; use sluice bootstrap git", found.HTTPS))
	}
	w, err := h.overHTTP(u, host.User(), token, false)
	if err != nil || h.tokenAuth || h.export {
		return h.exported(w, found), err
	}
	return w, h.withDeployKey(w, host, r, found.SSH)
}

// ensure finds the repository, and makes a missing one, but not for --export, which changes nothing.
func (h *hostBootstrap) ensure(ctx context.Context, host githost.Host, r githost.Repository) (githost.Found, error) {
	say(h.streams, "►", "connecting to %s", orElse(h.hostname, h.kind.name))
	r.FindOnly = h.export
	found, err := host.Ensure(ctx, r)
	if err == nil && found.Created {
		say(h.streams, "✔", "repository %s/%s created", r.Owner, r.Name)
	}
	return found, err
}

// exported gives the sync the address that it would have: with a deploy key that is the SSH one.
func (h *hostBootstrap) exported(w *where, found githost.Found) *where {
	if w != nil && h.export && !h.tokenAuth {
		w.syncURL = found.SSH
	}
	return w
}

// withDeployKey lets the cluster fetch over SSH with a key that the host knows.
func (h *hostBootstrap) withDeployKey(w *where, host githost.Host, r githost.Repository, ssh string) error {
	u, err := url.Parse(ssh)
	if err != nil {
		return err
	}
	if h.sshHostname != "" {
		u.Host = h.sshHostname
	}
	w.syncURL = u.String()
	known, err := h.knownHosts(w.syncURL)
	if err != nil {
		return err
	}
	title := strings.Join([]string{"flux", h.branch, h.kube.namespace, strings.Trim(h.path, "./")}, "-")
	w.credentials = h.deployKey(w.syncURL, known, func(ctx context.Context, public string) error {
		if err := host.DeployKey(ctx, r, title, public, h.writable); err != nil {
			return err
		}
		say(h.streams, "✔", "deploy key %q registered", title)
		return nil
	})
	return nil
}
