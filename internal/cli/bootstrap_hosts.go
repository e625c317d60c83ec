package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/githost"
)

// hostBootstrap holds the flags of the commands that are named for a Git host.
type hostBootstrap struct {
	*bootstrapFlags
	kind                        hostKind
	owner, repository, hostname string
	personal, private, writable bool
	reconcile, deployToken      bool
	visibility                  string
	teams                       []string
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
		f.BoolVar(&h.reconcile, "reconcile", false, "set the visibility of an existing repository too")
		f.StringSliceVar(&h.teams, "team", nil, "teams that get access to the repository, as NAME or NAME:ACCESS")
		if kind.use == "gitlab" {
			f.StringVar(&h.visibility, "visibility", "", "private, internal or public; goes before --private")
			f.BoolVar(&h.deployToken, "deploy-token-auth", false, "let the cluster sign in with a deploy token of its own instead of an SSH key")
		}
		cmds = append(cmds, cmd)
	}
	return append(cmds, newBootstrapBitbucket())
}

// newBootstrapBitbucket is Flux's command that is not there: it says what works instead.
func newBootstrapBitbucket() *cobra.Command {
	return &cobra.Command{Use: "bitbucket-server", Hidden: true, Short: "Not there", DisableFlagParsing: true, RunE: func(*cobra.Command, []string) error {
		return &fault.Fault{Code: "SLU-USAGE-069", Hop: fault.HopUsage, Seen: "sluice bootstrap has no bitbucket-server", Why: "Bitbucket's API was not at hand to be tested against",
			Fix: "make the repository there, and then: sluice bootstrap git --url ssh://git@HOST:7999/PROJECT/REPOSITORY.git --path PATH"}
	}}
}

// find makes sure of the repository, and of the cluster's access to it.
func (h *hostBootstrap) find(ctx context.Context, c *cobra.Command) (*where, error) {
	switch {
	case h.owner == "" || h.repository == "":
		return nil, usage(c, errors.New("--owner and --repository are required"))
	case h.personal && len(h.teams) > 0:
		return nil, usage(c, errors.New("--team with --personal: a user has no teams"))
	case !slices.Contains([]string{"", "private", "internal", "public"}, h.visibility):
		return nil, usage(c, errors.New("--visibility must be private, internal or public"))
	case h.tokenAuth && h.deployToken:
		return nil, usage(c, errors.New("give --token-auth, or --deploy-token-auth"))
	}
	token, err := h.token(ctx, "", h.kind.token, "Access token for "+h.kind.name)
	if err != nil {
		return nil, err
	}
	o := githost.Options{Hostname: h.hostname, Token: token}
	if h.caFile != "" {
		if o.CAFile, err = readFlagFile("--ca-file", h.caFile); err != nil {
			return nil, err
		}
	}
	host, err := h.kind.new(o)
	if err != nil {
		return nil, err
	}
	r := githost.Repository{Owner: h.owner, Name: h.repository, Personal: h.personal, Private: h.private, Reconcile: h.reconcile}
	if h.visibility != "" {
		r.Private, r.Internal = h.visibility == "private", h.visibility == "internal"
	}
	for _, t := range h.teams {
		r.Teams = append(r.Teams, githost.ParseTeam(t))
	}
	found, err := h.ensure(ctx, host, r)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(found.HTTPS)
	if err != nil || u.Host == "" {
		return nil, usage(c, fmt.Errorf("the host gives %q as the repository's address; use sluice bootstrap git", found.HTTPS))
	}
	w, err := h.overHTTP(u, host.User(), token, false)
	switch {
	case err != nil || h.tokenAuth || h.export:
		return h.exported(w, found), err
	case h.deployToken:
		return w, h.withDeployToken(w, host, r)
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
	if w != nil && h.export && !h.tokenAuth && !h.deployToken {
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
	title := h.title()
	w.credentials = h.deployKey(w.syncURL, known, func(ctx context.Context, public string) error {
		if err := host.DeployKey(ctx, r, title, public, h.writable); err != nil {
			return err
		}
		say(h.streams, "✔", "deploy key %q registered", title)
		return nil
	})
	return nil
}

// title is what the key or token is called at the host: as Flux calls it.
func (h *hostBootstrap) title() string {
	return strings.Join([]string{"flux", h.branch, h.kube.namespace, strings.Trim(h.path, "./")}, "-")
}

// withDeployToken lets the cluster fetch over https with a token that reads this repository alone. One that the cluster
// has already is kept: the host shows a token once.
func (h *hostBootstrap) withDeployToken(w *where, host githost.Host, r githost.Repository) error {
	tokens, ok := host.(githost.TokenHost)
	if !ok {
		return fmt.Errorf("%s has no deploy tokens", h.kind.name)
	}
	title := h.title()
	_, data, err := h.httpAuth("", "", false)
	if err != nil {
		return err
	}
	w.credentials = func(ctx context.Context, existing map[string][]byte) (map[string][]byte, error) {
		if strings.HasPrefix(string(existing["username"]), "flux-") && len(existing["password"]) > 0 {
			say(h.streams, "✔", "the cluster's deploy token is kept")
			return nil, nil
		}
		user, token, err := tokens.DeployToken(ctx, r, title)
		if err != nil {
			return nil, err
		}
		data["username"], data["password"] = []byte(user), []byte(token)
		say(h.streams, "✔", "deploy token %q made", title)
		return data, nil
	}
	return nil
}
