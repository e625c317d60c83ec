package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// GitHubUser is the user name that goes with an installation token as the password.
const GitHubUser = "x-access-token"

// GitHubApp is an app that is installed where the repository is. InstallationID or Owner must be set.
type GitHubApp struct {
	AppID          string
	InstallationID string
	Owner          string // organisation or user that the app is installed for
	BaseURL        string // of the API; empty: https://api.github.com
	PrivateKey     []byte // RSA, PEM
	CAFile         []byte // PEM, trusted besides the system's roots
	Proxy          *url.URL
}

// GitHubToken opens what the installation was granted until it expires, an hour as a rule.
type GitHubToken struct {
	Value   string    `json:"token"`
	Expires time.Time `json:"expires_at"`
}

// Token signs in as the app and returns a new installation token. Errors are faults with hop git that hold neither key
// nor token.
func (a GitHubApp) Token(ctx context.Context) (GitHubToken, error) {
	base, err := url.Parse(strings.TrimRight(a.BaseURL, "/"))
	if a.BaseURL == "" {
		base, err = url.Parse("https://api.github.com")
	}
	if err != nil || base.Scheme != "https" && base.Scheme != "http" || base.Host == "" || base.User != nil {
		return GitHubToken{}, githubFault("githubAppBaseURL is no http address", "", "correct githubAppBaseURL, https://HOST/api/v3 for GitHub Enterprise", nil)
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM(a.PrivateKey)
	if err != nil {
		return GitHubToken{}, githubFault("githubAppPrivateKey is no RSA key in PEM", "", "put the key file that GitHub made for the app into the Secret", nil)
	}
	// GitHub refuses times ahead of its own clock, and fractions of seconds.
	now := time.Now().Add(-30 * time.Second).Truncate(time.Second)
	proof, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		Issuer: a.AppID, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(2 * time.Minute)),
	}).SignedString(key)
	if err != nil {
		return GitHubToken{}, githubFault("githubAppPrivateKey cannot sign", "", "make a new key for the app", nil)
	}
	config, err := tlsConfig(Auth{CAFile: a.CAFile})
	if err != nil {
		return GitHubToken{}, err
	}
	t := transport(config, a.Proxy)
	defer t.CloseIdleConnections()
	api := &githubAPI{base: base, proof: proof, client: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // the proof is for the host that the Secret names
	}}}
	id, err := a.installation(ctx, api)
	if err != nil {
		return GitHubToken{}, err
	}
	var token GitHubToken
	if err := api.do(ctx, http.MethodPost, "/app/installations/"+url.PathEscape(id)+"/access_tokens", &token); err != nil {
		return GitHubToken{}, err
	}
	if token.Value == "" {
		return GitHubToken{}, githubFault(base.Host+" gave no installation token", "", "look whether githubAppBaseURL is the API's address", nil)
	}
	return token, nil
}

// installation finds where the app is installed: an organisation, else a user, of the owner's name.
func (a GitHubApp) installation(ctx context.Context, api *githubAPI) (string, error) {
	if a.InstallationID != "" {
		return a.InstallationID, nil
	}
	var found struct {
		ID json.Number `json:"id"`
	}
	err := api.do(ctx, http.MethodGet, "/orgs/"+url.PathEscape(a.Owner)+"/installation", &found)
	if errors.Is(err, errAbsent) {
		err = api.do(ctx, http.MethodGet, "/users/"+url.PathEscape(a.Owner)+"/installation", &found)
	}
	return found.ID.String(), err
}

type githubAPI struct {
	base   *url.URL
	proof  string
	client *http.Client
}

// errAbsent is a 404.
var errAbsent = errors.New("not found")

func (g *githubAPI) do(ctx context.Context, method, path string, into any) error {
	u, err := url.Parse(g.base.String() + path)
	if err != nil {
		return githubFault("githubAppBaseURL is no http address", "", "correct it", nil)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(nil))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+g.proof)
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("User-Agent", "sluice")
	res, err := g.client.Do(req)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		return githubFault("no answer from "+g.base.Host+", where the GitHub app signs in", netReason(err), "none here: it is tried again", sealed{err})
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return githubFault(g.base.Host+" ended the connection early", "", "none here: it is tried again", sealed{err})
	}
	seen := fmt.Sprintf("HTTP %d from %s, where the GitHub app signs in", res.StatusCode, g.base.Host)
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		return githubFault(seen, "the key is not the app's, or this machine's clock is wrong", "correct githubAppID and githubAppPrivateKey", nil)
	case res.StatusCode == http.StatusNotFound:
		return githubFault(seen, "the app is not installed there", "install it for the owner, or correct githubAppInstallationID or githubAppInstallationOwner", errAbsent)
	case res.StatusCode/100 != 2:
		return githubFault(seen, "", "look at the app's permissions and at GitHub's status", nil)
	}
	if json.Unmarshal(data, into) != nil {
		return githubFault(g.base.Host+" answers, but not as GitHub's API", "", "correct githubAppBaseURL", nil)
	}
	return nil
}

func githubFault(seen, why, fix string, err error) error {
	return &fault.Fault{Code: "SLU-GIT-022", Hop: fault.HopGit, Reason: reasonAuth, Seen: seen, Why: why, Fix: fix, Err: err}
}
