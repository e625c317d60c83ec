package reconcile

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/kms/aws"
	"github.com/sluice-gitops/sluice/internal/source"
)

// devOpsScope is Azure DevOps in Entra ID.
const devOpsScope = "499b84ac-1321-427f-aa17-267ca6975798/.default"

// tokenSlack is how long before its end a token is no longer used.
const tokenSlack = 5 * time.Minute

// gitCloud is where providers get their tokens; tests put others in.
type gitCloud struct {
	azure    func() (azcore.TokenCredential, error)
	devOps   func(host string) bool // hosts that may see a token for Azure DevOps
	insecure bool                   // tests only: a token may go over http
	aws      func() (*aws.Credentials, error)
	sts      string // where AWS's sessions are had; empty: AWS's own
}

func newGitCloud() gitCloud {
	own := ownWorkload()
	return gitCloud{
		azure: func() (azcore.TokenCredential, error) { return own.credential, own.err },
		aws:   func() (*aws.Credentials, error) { return own.clouds.AWS, own.clouds.AWSErr },
		devOps: func(host string) bool {
			host = strings.ToLower(host)
			return host == "dev.azure.com" || strings.HasSuffix(host, ".visualstudio.com")
		},
	}
}

// githubToken is an installation token and what it was made with.
type githubToken struct {
	source.GitHubToken
	of [32]byte
}

// auth gathers credentials and proxy of a repository.
func (g *GitRepositories) auth(ctx context.Context, obj *sourcev1.GitRepository, state *gitState) (source.Auth, error) {
	proxy, err := g.proxy(ctx, obj)
	if err != nil {
		return source.Auth{}, err
	}
	auth, err := gitAuth(ctx, g.Secrets, obj)
	if err != nil {
		return source.Auth{}, err
	}
	auth.Proxy, auth.KexAlgorithms, auth.HostKeyAlgorithms = proxy, g.KexAlgorithms, g.HostKeyAlgorithms
	switch obj.GetProvider() {
	case sourcev1.GitProviderAzure:
		token, err := g.azureToken(ctx, obj)
		auth.Username, auth.Password, auth.BearerToken = "", "", token
		return auth, err
	case sourcev1.GitProviderAWS:
		auth.BearerToken = ""
		auth.Username, auth.Password, err = g.codeCommit(ctx, obj)
		return auth, err
	case sourcev1.GitProviderGitHub:
		return g.githubAuth(ctx, obj, state, auth)
	}
	if obj.Spec.SecretRef != nil {
		data, err := secretData(ctx, g.Secrets, obj.Namespace, obj.Spec.SecretRef.Name)
		if err == nil && len(data["githubAppID"]) > 0 {
			return auth, gitStepFault(obj, "SLU-GIT-023", sourcev1.InvalidProviderConfigurationReason,
				"secretRef '"+obj.Namespace+"/"+obj.Spec.SecretRef.Name+"' has github app data but provider is not set to github", "", "set spec.provider: github", nil)
		}
	}
	return auth, nil
}

// azureToken signs in as spec.serviceAccountName's identity, else as the controller's own. The token goes to Azure DevOps
// and to nobody else: whoever may write a GitRepository could otherwise have it sent to themselves.
func (g *GitRepositories) azureToken(ctx context.Context, obj *sourcev1.GitRepository) (string, error) {
	u, err := url.Parse(obj.Spec.URL)
	if err != nil || !g.cloud.devOps(u.Hostname()) || u.Scheme != "https" && !g.cloud.insecure {
		return "", gitStepFault(obj, "SLU-GIT-024", sourcev1.InvalidProviderConfigurationReason,
			"spec.provider is azure and spec.url is no https address of Azure DevOps", "its token is sent to dev.azure.com and *.visualstudio.com alone",
			"correct spec.url, or set spec.provider: generic", nil)
	}
	credential, err := g.credential(ctx, obj)
	if err != nil {
		return "", withReason(err, sourcev1.AuthenticationFailedReason)
	}
	ctx = onBehalfOf(ctx, involvedRepository(obj))
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{devOpsScope}})
	if err != nil {
		return "", withReason(err, sourcev1.AuthenticationFailedReason)
	}
	return token.Token, nil
}

func withReason(err error, reason string) error {
	if f := fault.From(err); f != nil && f.Reason == "" {
		told := *f
		told.Reason = reason
		return &told
	}
	return err
}

func (g *GitRepositories) githubAuth(ctx context.Context, obj *sourcev1.GitRepository, state *gitState, auth source.Auth) (source.Auth, error) {
	invalid := func(stalled bool) error {
		return &stepError{condition: fetchFailed, status: metav1.ConditionTrue, stalled: stalled, err: gitStepFault(obj, "SLU-GIT-023", sourcev1.InvalidProviderConfigurationReason,
			"secretRef with github app data must be specified when provider is set to github", "",
			"name a Secret with githubAppID, githubAppPrivateKey and one of githubAppInstallationID and githubAppInstallationOwner in spec.secretRef", nil)}
	}
	if obj.Spec.SecretRef == nil {
		return auth, invalid(true)
	}
	data, err := secretData(ctx, g.Secrets, obj.Namespace, obj.Spec.SecretRef.Name)
	if err != nil {
		return auth, err
	}
	app := source.GitHubApp{
		AppID: string(data["githubAppID"]), InstallationID: string(data["githubAppInstallationID"]), Owner: string(data["githubAppInstallationOwner"]),
		BaseURL: string(data["githubAppBaseURL"]), PrivateKey: data["githubAppPrivateKey"], CAFile: auth.CAFile, Proxy: auth.Proxy,
	}
	if app.AppID == "" || len(app.PrivateKey) == 0 || (app.InstallationID == "") == (app.Owner == "") {
		return auth, invalid(false)
	}
	text, _ := json.Marshal(app)
	of := sha256.Sum256(text)
	cached := state.github.of == of && time.Until(state.github.Expires) >= tokenSlack
	if !cached {
		token, err := app.Token(ctx)
		if err != nil {
			tokens.observe(onBehalfOf(ctx, involvedRepository(obj)), false, err)
			return auth, err
		}
		state.github = githubToken{token, of}
	}
	tokens.observe(onBehalfOf(ctx, involvedRepository(obj)), cached, nil)
	auth.BearerToken, auth.Username, auth.Password = "", source.GitHubUser, state.github.Value
	return auth, nil
}

// proxy reads what spec.proxySecretRef names: address, and username and password where the proxy wants them.
func (g *GitRepositories) proxy(ctx context.Context, obj *sourcev1.GitRepository) (*url.URL, error) {
	ref := obj.Spec.ProxySecretRef
	if ref == nil {
		return nil, nil
	}
	refuse := func(seen, fix string, err error) error {
		return gitStepFault(obj, "SLU-GIT-025", sourcev1.AuthenticationFailedReason, "failed to configure proxy options: "+seen, "", fix, err)
	}
	where := "the Secret " + obj.Namespace + "/" + ref.Name
	data, err := secretData(ctx, g.Secrets, obj.Namespace, ref.Name)
	if err != nil {
		f := cmp.Or(fault.From(err), &fault.Fault{Seen: err.Error()})
		return nil, refuse(f.Seen, f.Fix, err)
	}
	u, err := url.Parse(string(data["address"]))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" {
		return nil, refuse("address in "+where+" is no http, https or socks5 URL", "put the proxy's URL under address in "+where, nil)
	}
	if strings.HasPrefix(obj.Spec.URL, "ssh:") {
		return nil, refuse("spec.url is an ssh address", "take spec.proxySecretRef away, or use an https address", nil)
	}
	if name := string(data["username"]); name != "" {
		u.User = url.UserPassword(name, string(data["password"]))
	}
	return u, nil
}
