package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/githost/gitpush"
	"github.com/sluice-gitops/sluice/internal/source"
)

// gitBootstrap holds the flags of bootstrap git.
type gitBootstrap struct {
	*bootstrapFlags
	url, username, password string
	bearer, insecure        bool
}

func newBootstrapGit(b *bootstrapFlags) *cobra.Command {
	g := &gitBootstrap{bootstrapFlags: b}
	cmd := &cobra.Command{Use: "git", Short: "Bootstrap from any Git server over https or ssh", Args: none,
		Long: `Over https the cluster gets the credentials that were given here. Over ssh the push is signed in to with
--private-key-file, which the cluster gets too, or with the keys of an SSH agent; then the cluster gets a deploy key of
its own, whose public half is printed for you to register. A deploy key that the cluster has already is kept. With
--token-auth the cluster fetches over https with --username and --password, even where the push goes over ssh.`,
		Example: `  sluice bootstrap git --url ssh://git@git.example.org/team/fleet --path ./gitops/aks --private-key-file ~/.ssh/deploy
  GIT_PASSWORD=… sluice bootstrap git --url https://git.example.org/team/fleet.git --username bot --path ./gitops/aks`,
		RunE: func(c *cobra.Command, _ []string) error {
			return g.run(c, func(ctx context.Context) (*where, error) { return g.find(ctx, c) })
		}}
	f := cmd.Flags()
	f.StringVar(&g.url, "url", "", "the repository, https:// or ssh:// (required)")
	f.StringVarP(&g.username, "username", "u", "git", "user for https")
	f.StringVarP(&g.password, "password", "p", "", "password or token for https, passphrase of the SSH key (default $GIT_PASSWORD)")
	f.BoolVar(&g.bearer, "with-bearer-token", false, "send the password as a bearer token")
	f.BoolVar(&g.insecure, "allow-insecure-http", false, "allow an http:// URL, over which credentials travel in clear text")
	return cmd
}

// find settles how to push and how the cluster fetches, by the URL's protocol.
func (g *gitBootstrap) find(ctx context.Context, c *cobra.Command) (*where, error) {
	u, err := url.Parse(g.url)
	if err != nil || g.url == "" || u.Host == "" {
		return nil, usage(c, errors.New("--url must be an https:// or ssh:// address; write git@HOST:PATH as ssh://git@HOST/PATH"))
	}
	if _, given := u.User.Password(); given {
		return nil, usage(c, errors.New("the URL is written into the repository and must hold no password; use --password"))
	}
	password := orElse(g.password, g.streams.Env("GIT_PASSWORD"))
	if g.tokenAuth && password == "" {
		if password, err = g.token(ctx, "", "GIT_PASSWORD", "Password or token of the Git repository"); err != nil {
			return nil, err
		}
	}
	switch u.Scheme {
	case "ssh":
		if user := u.User.Username(); user == "" || g.username != "git" {
			u.User = url.User(g.username)
		}
		return g.overSSH(u, password)
	case "http":
		if !g.insecure {
			return nil, usage(c, errors.New("over http:// credentials travel in clear text; --allow-insecure-http allows it"))
		}
		fallthrough
	case "https":
		return g.overHTTP(u, g.username, password, g.bearer)
	}
	return nil, usage(c, fmt.Errorf("--url %s: the protocol must be https or ssh", u.Redacted()))
}

// overHTTP lets the cluster use the same credentials as the push.
func (b *bootstrapFlags) overHTTP(u *url.URL, user, password string, bearer bool) (*where, error) {
	auth, data, err := b.httpAuth(user, password, bearer)
	if err != nil {
		return nil, err
	}
	w := &where{remote: gitpush.Remote{URL: u.String(), Auth: auth}, syncURL: u.String()}
	if len(data) > 0 {
		w.credentials = func(context.Context, map[string][]byte) (map[string][]byte, error) { return data, nil }
	}
	return w, nil
}

// httpAuth is the same twice: for the push, and as the Secret's data.
func (b *bootstrapFlags) httpAuth(user, password string, bearer bool) (auth source.Auth, data map[string][]byte, err error) {
	data = map[string][]byte{}
	switch {
	case password == "":
	case bearer:
		auth.BearerToken = password
		data["bearerToken"] = []byte(password)
	default:
		auth.Username, auth.Password = user, password
		data["username"], data["password"] = []byte(user), []byte(password)
	}
	if b.caFile != "" {
		ca, err := readFlagFile("--ca-file", b.caFile)
		if err != nil {
			return auth, nil, err
		}
		auth.CAFile, data["ca.crt"] = ca, ca
	}
	return auth, data, nil
}
