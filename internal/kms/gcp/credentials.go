package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/google/externalaccount"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/kms"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// scope is what KMS asks for.
const scope = "https://www.googleapis.com/auth/cloud-platform"

// Endpoints are where tokens are had. The zero value is Google's own.
type Endpoints struct {
	HTTP           *http.Client // nil: kms.NewHTTP
	STS            string       // exchange of federated tokens
	IAMCredentials string       // impersonation of service accounts
}

func (e Endpoints) context() context.Context {
	if e.HTTP == nil {
		e.HTTP = kms.NewHTTP(nil)
	}
	return context.WithValue(context.Background(), oauth2.HTTPClient, e.HTTP)
}

// tokenHost is where a service account's key may send its assertion.
var tokenHost = lazyregexp.New(`^https://([a-z0-9-]+\.)*googleapis\.com/`)

// FromServiceAccountKey returns the identity of a service account's key, as `gcloud iam service-accounts keys create`
// writes it. Its errors hold nothing of the key.
func FromServiceAccountKey(raw []byte, e Endpoints) (oauth2.TokenSource, error) {
	var kind struct {
		Type     string `json:"type"`
		TokenURI string `json:"token_uri"`
	}
	if json.Unmarshal(raw, &kind) != nil {
		return nil, errors.New("it is not JSON")
	}
	if kind.Type != "service_account" {
		return nil, errors.New("it is not a service account's key: the other kinds of credentials name files to read and hosts to send them to, so they are taken only from the controller's own environment")
	}
	if kind.TokenURI != "" && !tokenHost.MatchString(kind.TokenURI) {
		return nil, errors.New("its token_uri is not Google's")
	}
	cfg, err := google.JWTConfigFromJSON(raw, scope)
	if err != nil || cfg.Email == "" || len(cfg.PrivateKey) == 0 {
		return nil, errors.New("client_email and private_key must both be set")
	}
	if e.STS != "" {
		cfg.TokenURL = e.STS
	}
	return &lazy{make: func() (oauth2.TokenSource, error) { return cfg.TokenSource(e.context()), nil }}, nil
}

var (
	email    = lazyregexp.New(`^[a-zA-Z0-9-]{1,100}@[a-zA-Z0-9-]{1,100}\.iam\.gserviceaccount\.com$`)
	provider = lazyregexp.New(`^projects/\d{1,30}/locations/global/workloadIdentityPools/[a-zA-Z0-9-]{1,100}/providers/[a-zA-Z0-9-]{1,100}$`)
)

// Federated is a Kubernetes ServiceAccount that a workload identity pool trusts.
type Federated struct {
	Provider string // resource name of the pool's provider
	Email    string // service account to impersonate; empty: the pool's principal is used itself
	Token    func(context.Context) (string, error)
}

// Audience is what the ServiceAccount's token must be for. Its error names a malformed field.
func (f Federated) Audience() (string, error) {
	if !provider.MatchString(f.Provider) {
		return "", errors.New("it is not the name of a workload identity provider: projects/<number>/locations/global/workloadIdentityPools/<pool>/providers/<provider>")
	}
	if f.Email != "" && !email.MatchString(f.Email) {
		return "", errors.New("it is not the address of a service account: <name>@<project>.iam.gserviceaccount.com")
	}
	return "//iam.googleapis.com/" + f.Provider, nil
}

// Source returns the tokens of a federated identity. It sends nothing.
func (f Federated) Source(e Endpoints) (oauth2.TokenSource, error) {
	audience, err := f.Audience()
	if err != nil {
		return nil, err
	}
	cfg := externalaccount.Config{
		Audience: audience, SubjectTokenType: "urn:ietf:params:oauth:token-type:jwt", SubjectTokenSupplier: supplier(f.Token),
		Scopes: []string{scope}, TokenURL: "https://sts.googleapis.com/v1/token", UniverseDomain: "googleapis.com",
	}
	if e.STS != "" {
		cfg.TokenURL = e.STS
	}
	if f.Email != "" {
		base := "https://iamcredentials.googleapis.com"
		if e.IAMCredentials != "" {
			base = e.IAMCredentials
		}
		cfg.ServiceAccountImpersonationURL = fmt.Sprintf("%s/v1/projects/-/serviceAccounts/%s:generateAccessToken", base, f.Email)
	}
	return &lazy{make: func() (oauth2.TokenSource, error) { return externalaccount.NewTokenSource(e.context(), cfg) }}, nil
}

type supplier func(context.Context) (string, error)

// SubjectToken implements externalaccount.SubjectTokenSupplier.
func (s supplier) SubjectToken(ctx context.Context, _ externalaccount.SupplierOptions) (string, error) {
	return s(ctx)
}

// FromEnvironment returns the controller's own identity: the credentials that GOOGLE_APPLICATION_CREDENTIALS names, a
// service account's key or a federation's configuration, or on GKE those of the metadata server. Without either the error
// is a fault of hop "identity". Nothing is read or sent until the first token is needed.
func FromEnvironment() (oauth2.TokenSource, error) {
	if os.Getenv("GOOGLE_APPLICATION_CREDENTIALS") == "" && os.Getenv("GCE_METADATA_HOST") == "" && os.Getenv("GKE_METADATA_SERVER") == "" {
		return nil, &fault.Fault{
			Code: "SLU-IDENTITY-040", Hop: fault.HopIdentity, Seen: "the pod has no Google identity",
			Why: "neither GOOGLE_APPLICATION_CREDENTIALS nor GCE_METADATA_HOST is set in its environment",
			Fix: "set GOOGLE_APPLICATION_CREDENTIALS on the controller's Deployment to a mounted federation configuration, or on GKE GCE_METADATA_HOST=metadata.google.internal",
		}
	}
	return Default(Endpoints{}), nil
}

// Default returns a person's identity, found as sops finds it: GOOGLE_CREDENTIALS (a file, or its content),
// GOOGLE_OAUTH_ACCESS_TOKEN, then Google's application default credentials.
func Default(e Endpoints) oauth2.TokenSource {
	return &lazy{make: func() (oauth2.TokenSource, error) { return find(e.context()) }}
}

// lazy looks for credentials when the first token is asked for, and keeps its token until it ends.
type lazy struct {
	make func() (oauth2.TokenSource, error)
	mu   sync.Mutex
	src  oauth2.TokenSource
}

// Token implements oauth2.TokenSource.
func (l *lazy) Token() (*oauth2.Token, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.src == nil {
		src, err := l.make()
		if err != nil {
			return nil, err
		}
		l.src = oauth2.ReuseTokenSource(nil, src)
	}
	return l.src.Token()
}

// Renew forgets the token and where it came from.
func (l *lazy) Renew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.src = nil
}

func find(ctx context.Context) (oauth2.TokenSource, error) {
	if v := os.Getenv("GOOGLE_CREDENTIALS"); v != "" {
		raw := []byte(v)
		if content, err := os.ReadFile(filepath.Clean(v)); err == nil {
			raw = content
		}
		var kind struct {
			Type google.CredentialsType `json:"type"`
		}
		_ = json.Unmarshal(raw, &kind)
		creds, err := google.CredentialsFromJSONWithType(ctx, raw, kind.Type, scope)
		if err != nil {
			return nil, errUnusable
		}
		return creds.TokenSource, nil
	}
	if v := os.Getenv("GOOGLE_OAUTH_ACCESS_TOKEN"); v != "" {
		return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: v}), nil
	}
	creds, err := google.FindDefaultCredentials(ctx, scope)
	if err != nil {
		return nil, errUnusable
	}
	return creds.TokenSource, nil
}

var errUnusable = errors.New("no usable credentials")

// signInFailed is the fault of a token that could not be had. The library's text holds the server's.
func signInFailed(ctx context.Context, a kms.Key, err error) error {
	if ctx.Err() != nil {
		return a.Unreachable(ctx, err)
	}
	if f := fault.From(err); f != nil {
		return f
	}
	f := &fault.Fault{
		Code: "SLU-IDENTITY-041", Hop: fault.HopIdentity, Object: "Google Cloud KMS key " + a.Name,
		Seen: "there is no Google access token to ask with", Why: "no credentials were found, or they are not usable", Fix: a.SignIn,
	}
	if status := statusOf(err); status != 0 {
		r := a.Refusal(status, "", kms.Forbidden)
		f.Code, f.Err = "SLU-IDENTITY-042", r.Err
		f.Seen = "Google's token service answered " + r.Err.Error()
		f.Why = "it does not accept the credentials: the key was deleted, or the workload identity pool does not trust this issuer, subject or audience"
	}
	return f
}

// refusal is how the library tells a refused exchange and a refused impersonation, for which it has no type.
var refusal = lazyregexp.New(`oauth2/google: status code (\d{3}):`)

// statusOf is the HTTP status of a refused sign-in, 0 for anything else.
func statusOf(err error) int {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response != nil {
		return refused.Response.StatusCode
	}
	if m := refusal.FindStringSubmatch(err.Error()); m != nil {
		status, _ := strconv.Atoi(m[1])
		return status
	}
	return 0
}
