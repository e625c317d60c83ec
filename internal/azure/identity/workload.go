// Package identity signs in to Entra ID: it exchanges a Kubernetes service-account token, or a developer's client
// secret, for access tokens, as an azcore.TokenCredential that every Azure client of this program takes.
//
// It stands between the pod and Key Vault. Whatever goes wrong on that way comes back as a *fault.Fault of hop
// "identity" (the pod was given no identity, or its token file is unusable) or "entra" (the exchange was refused), with
// the AADSTS code, the issuer, subject and audience that the token really carries, and the az command that mends it.
//
// It refuses to fall back: there is no chain of credentials and no call to the az CLI, because a controller that
// silently signs in as somebody else is worse than one that fails. It never writes or prints a token; of a
// service-account token only the claims iss, sub, aud and exp are ever shown.
package identity

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// The environment that the workload identity webhook gives to a pod.
const (
	envClientID  = "AZURE_CLIENT_ID"
	envTenantID  = "AZURE_TENANT_ID"
	envTokenFile = "AZURE_FEDERATED_TOKEN_FILE"
	envAuthority = "AZURE_AUTHORITY_HOST"
)

// negativeTTL is how long a refused exchange answers for the callers that come after it. Fifty documents that need the
// same token then cost one refused exchange, and a mended credential is noticed within seconds.
const negativeTTL = 3 * time.Second

// Assertion returns the service-account token to exchange. It is asked once per exchange, not once per request, and
// must be safe for concurrent use.
type Assertion func(ctx context.Context) (string, error)

// Config says who signs in and where. ClientID, TenantID and Assertion must be set.
type Config struct {
	ClientID      string
	TenantID      string
	AuthorityHost string // https URL; empty: the public cloud's
	Assertion     Assertion
	TokenFile     string               // where Assertion reads from; only shown in faults
	Account       Account              // whose TokenRequest Assertion asks for; zero: the token is the pod's own
	Client        azcore.ClientOptions // Transport and Retry; Cloud is set from AuthorityHost
	Clock         func() time.Time     // nil: time.Now; used for the negative cache and to judge exp
}

// Workload is a federated identity. It implements azcore.TokenCredential and is safe for concurrent use: callers that
// need the same token wait for one exchange, each no longer than its own context.
type Workload struct {
	cfg Config
	now func() time.Time

	turn chan struct{} // one exchange at a time

	mu      sync.Mutex
	cred    *azidentity.ClientAssertionCredential
	refused map[string]refusal
	last    Claims // of the token that was exchanged last

	observe func(ctx context.Context, cached bool, err error)
	held    map[string]struct{} // what tokens were obtained for, since New or Renew
	asked   bool                // the call under way needed an assertion
}

type refusal struct {
	err   error
	until time.Time
}

// FromEnvironment returns the pod's own identity, as the workload identity webhook described it in AZURE_CLIENT_ID,
// AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE and, optionally, AZURE_AUTHORITY_HOST. A missing variable is a fault of
// hop "identity". Nothing is read or sent until the first token is needed.
func FromEnvironment() (*Workload, error) {
	return fromEnvironment(os.Getenv, azcore.ClientOptions{})
}

func fromEnvironment(getenv func(string) string, client azcore.ClientOptions) (*Workload, error) {
	var missing []string
	for _, name := range []string{envClientID, envTenantID, envTokenFile} {
		if getenv(name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, noIdentity(missing)
	}
	file := getenv(envTokenFile)
	return New(Config{
		ClientID: getenv(envClientID), TenantID: getenv(envTenantID), AuthorityHost: getenv(envAuthority),
		Assertion: FromFile(file), TokenFile: file, Client: client,
	})
}

// FromFile reads the assertion from a projected token. The file is read for every exchange, so a token that the
// kubelet has rotated is used at once; white space around it is dropped, because Entra ID is sent the bytes as they are.
func FromFile(path string) Assertion {
	return func(context.Context) (string, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		return strings.TrimSpace(string(b)), nil
	}
}

// New returns the federated identity that cfg describes. It sends nothing.
func New(cfg Config) (*Workload, error) {
	w := &Workload{cfg: cfg, now: cfg.Clock, turn: make(chan struct{}, 1), refused: map[string]refusal{}, held: map[string]struct{}{}}
	if w.now == nil {
		w.now = time.Now
	}
	cred, err := w.credential()
	if err != nil {
		return nil, misconfigured(cfg, err)
	}
	w.cred = cred
	return w, nil
}

// ClientID returns the client (application) id that the identity signs in with.
func (w *Workload) ClientID() string { return w.cfg.ClientID }

// TenantID returns the tenant that the identity signs in to.
func (w *Workload) TenantID() string { return w.cfg.TenantID }

// Renew forgets every token and every remembered refusal: the next call exchanges anew. Call it after a vault answered
// 401 to a token that by its own dates is still good.
func (w *Workload) Renew() {
	cred, err := w.credential()
	if err != nil {
		return // the same configuration was accepted by New
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cred = cred
	clear(w.refused)
	clear(w.held)
}

// Observe has f told of every GetToken that got as far as an answer: whether it was served without an exchange, and what
// it failed with. Call it before the first GetToken; f must be quick and safe for concurrent use.
func (w *Workload) Observe(f func(ctx context.Context, cached bool, err error)) { w.observe = f }

// Tokens counts the tokens that are kept: one for each resource that one was obtained for.
func (w *Workload) Tokens() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.held)
}

// Claims returns what the service-account token says now. It costs no exchange.
func (w *Workload) Claims(ctx context.Context) (Claims, error) {
	token, err := w.cfg.Assertion(ctx)
	if err != nil {
		return Claims{}, unreadable(w.cfg, err)
	}
	return ParseClaims(token)
}

// GetToken implements azcore.TokenCredential. Its errors are faults of hop "identity" or "entra", or the context's.
func (w *Workload) GetToken(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return azcore.AccessToken{}, ctx.Err()
	}
	opts.TenantID = alignTenant(w.cfg.TenantID, opts.TenantID)
	key := strings.Join(opts.Scopes, " ") + "|" + opts.TenantID + "|" + opts.Claims

	w.mu.Lock()
	w.asked = false
	cred, r, ok := w.cred, w.refused[key], false
	if ok = r.err != nil && w.now().Before(r.until); !ok {
		delete(w.refused, key)
	}
	w.mu.Unlock()
	if ok {
		w.tell(ctx, true, r.err)
		return azcore.AccessToken{}, r.err
	}

	var token azcore.AccessToken
	var err error
	if f := OtherCloud(w.cfg, opts.Scopes...); f != nil {
		err = f
	} else {
		token, err = cred.GetToken(ctx, opts)
	}
	w.mu.Lock()
	cached := !w.asked
	if err == nil && cred == w.cred {
		w.held[key] = struct{}{}
	}
	w.mu.Unlock()
	if err == nil {
		w.tell(ctx, cached, nil)
		return token, nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return azcore.AccessToken{}, fmt.Errorf("token exchange: %w", ctxErr)
	}
	err = w.explain(ctx, err, opts)
	w.mu.Lock()
	w.refused[key] = refusal{err, w.now().Add(negativeTTL)}
	w.mu.Unlock()
	w.tell(ctx, false, err)
	return azcore.AccessToken{}, err
}

func (w *Workload) tell(ctx context.Context, cached bool, err error) {
	if w.observe != nil {
		w.observe(ctx, cached, err)
	}
}

// credential builds a credential with empty caches. The assertion passes through here so that faults can show the
// claims of the very token that was refused.
func (w *Workload) credential() (*azidentity.ClientAssertionCredential, error) {
	return azidentity.NewClientAssertionCredential(w.cfg.TenantID, w.cfg.ClientID, func(ctx context.Context) (string, error) {
		w.mu.Lock()
		w.asked = true
		w.mu.Unlock()
		token, err := w.cfg.Assertion(ctx)
		if err != nil {
			return "", unreadable(w.cfg, err)
		}
		claims, err := ParseClaims(token)
		if err != nil {
			return "", malformed(w.cfg)
		}
		w.mu.Lock()
		w.last = claims
		w.mu.Unlock()
		return token, nil
	}, &azidentity.ClientAssertionCredentialOptions{ClientOptions: clientOptions(w.cfg.Client, w.cfg.AuthorityHost)})
}

// clientOptions bounds the retries: a refused exchange is never retried by the SDK, a failing network is, but a
// reconcile must learn of it within seconds.
func clientOptions(o azcore.ClientOptions, authority string) azcore.ClientOptions {
	if authority != "" {
		o.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: authority}
	}
	if o.Retry.MaxRetries == 0 {
		o.Retry.MaxRetries = 2
	}
	if o.Retry.RetryDelay == 0 {
		o.Retry.RetryDelay = 300 * time.Millisecond
	}
	if o.Retry.ShouldRetry == nil {
		o.Retry.ShouldRetry = worthRetrying
	}
	return o
}

func worthRetrying(res *http.Response, err error) bool {
	if err != nil {
		text := err.Error() // a missing name and a wrong certificate do not mend themselves within seconds
		return !strings.Contains(text, "no such host") && !strings.Contains(text, "x509:")
	}
	switch res.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// alignTenant reconciles the tenant that a vault's challenge names with the configured one. The SDK compares them by
// bytes, so the same GUID in capitals would be refused, and so would the GUID of a tenant configured by domain name.
func alignTenant(own, asked string) string {
	if strings.EqualFold(own, asked) || strings.Contains(own, ".") {
		return own
	}
	return asked
}

// explain turns an error of the SDK into a fault, unless the assertion callback made one already.
func (w *Workload) explain(ctx context.Context, err error, opts policy.TokenRequestOptions) error {
	if f := fault.From(err); f != nil {
		return f
	}
	// MSAL keeps only the words of an error that its assertion callback returned.
	if token, aerr := w.cfg.Assertion(ctx); aerr != nil {
		return unreadable(w.cfg, aerr)
	} else if _, perr := ParseClaims(token); perr != nil {
		return malformed(w.cfg)
	}
	w.mu.Lock()
	claims := w.last
	w.mu.Unlock()
	p := w.cfg.party(claims)
	p.asked = opts.TenantID
	return exchangeFault(err, p)
}
