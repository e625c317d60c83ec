package transit

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/internal/kms"
)

// SignIn gets a token of each server in exchange for a Kubernetes token, at a login path of any auth method that takes one
// (kubernetes, jwt). Paths is also the list of servers that a Kubernetes token may be shown to. It is safe for concurrent
// use.
//
// As in Flux, the Kubernetes token's audience is the server's address, and the role is its subject: a ServiceAccount "sops"
// of the namespace "apps" asks for the role "apps_sops".
type SignIn struct {
	Source string // of Paths, for faults: the ConfigMap
	// Paths are the login paths by address, as the operator wrote them: auth/kubernetes/login.
	Paths func(ctx context.Context) (map[string]string, error)
	// Token is a ServiceAccount's token for an audience, and whose it is.
	Token func(ctx context.Context, audience string) (token, namespace, name string, err error)

	mu     sync.Mutex
	tokens map[string]lease
}

// lease is a server's token until a while before it ends.
type lease struct {
	token string
	until time.Time
}

// Renew forgets the tokens, so that the next request proves the sign-in.
func (s *SignIn) Renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = nil
}

func (s *SignIn) forget(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, address)
}

// token returns the server's token, signing in where there is none. Callers that want one at the same time wait for one
// sign-in.
func (s *SignIn) token(ctx context.Context, c *Client, k Key) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.tokens[k.Address]; ok && time.Now().Before(l.until) {
		return l.token, nil
	}
	path, err := s.path(ctx, c, k)
	if err != nil {
		return "", err
	}
	jwt, namespace, name, err := s.Token(ctx, k.Address)
	if err != nil {
		return "", err
	}
	l, err := s.exchange(ctx, c, k, path, jwt, namespace+"_"+name)
	if err != nil {
		return "", err
	}
	if s.tokens == nil {
		s.tokens = map[string]lease{}
	}
	s.tokens[k.Address] = l
	return l.token, nil
}

// path is where the server takes the sign-in. A server that the operator did not list is shown nothing.
func (s *SignIn) path(ctx context.Context, c *Client, k Key) (string, error) {
	paths, err := s.Paths(ctx)
	if err != nil {
		return "", err
	}
	path := strings.Trim(paths[k.Address], "/")
	if path == "" {
		return "", c.refuse(c.about(k), k.Address, s.Source+" has no loginPath for this address, written so",
			"add the address to "+s.Source+", or correct the document's vault_address")
	}
	for _, part := range strings.Split(path, "/") {
		if !segment.MatchString(part) {
			return "", c.refuse(c.about(k), k.Address, s.Source+" has a loginPath for it that is no path",
				"write it as auth/kubernetes/login in "+s.Source)
		}
	}
	return path, nil
}

func (s *SignIn) exchange(ctx context.Context, c *Client, k Key, path, jwt, role string) (lease, error) {
	var reply struct {
		Auth struct {
			ClientToken   string `json:"client_token"`
			LeaseDuration int64  `json:"lease_duration"` // seconds; 0: it does not end
		} `json:"auth"`
	}
	started := time.Now()
	status, refusal, err := kms.Post(ctx, c.opts.HTTP, strings.TrimRight(k.Address, "/")+"/v1/"+path, http.Header{"X-Vault-Request": {"true"}},
		map[string]string{"jwt": jwt, "role": role}, &reply)
	if err != nil {
		return lease{}, c.about(k).Unreachable(ctx, err)
	}
	if status != http.StatusOK || reply.Auth.ClientToken == "" {
		return lease{}, signInRefused(k, path, role, status, refusal)
	}
	life := time.Duration(reply.Auth.LeaseDuration) * time.Second
	if life <= 0 || life > time.Hour {
		life = time.Hour
	}
	return lease{reply.Auth.ClientToken, started.Add(life * 4 / 5)}, nil
}

// signInRefused names the role, which is what most often is missing. Of the server's words it keeps a phrase of a closed
// list.
func signInRefused(k Key, path, role string, status int, body []byte) error {
	host := k.Address
	if u, err := url.Parse(k.Address); err == nil && u.Host != "" {
		host = u.Host
	}
	words := strings.ToLower(string(body))
	why := "the role must exist at " + path + ", be bound to the ServiceAccount and its namespace, and have the audience " + k.Address
	for _, p := range []struct{ phrase, why string }{
		{"invalid role name", "the role does not exist at " + path},
		{"could not be found", "the role does not exist at " + path},
		{"service account name not authorized", "the role is not bound to this ServiceAccount"},
		{"namespace not authorized", "the role is not bound to this namespace"},
		{"invalid audience", "the role's audience is not " + k.Address},
		{"invalid subject", "the role is bound to another subject than this ServiceAccount"},
		{"token is expired", "the token has expired: the server's clock and the cluster's differ"},
		{"token signature", "the auth method does not have the key of the cluster that signed the token"},
		{"could not load configuration", "the auth method is mounted there, and nobody has configured it"},
		{"no handler for route", "no auth method is mounted there"},
		{"permission denied", "no auth method is mounted there, or the one that is does not accept the cluster's tokens"},
	} {
		if strings.Contains(words, p.phrase) {
			why = p.why
			break
		}
	}
	about := kms.Key{Service: "Vault", Name: "role " + role + " of " + path + " at " + host, Host: host}
	f := about.Malformed(fmt.Sprintf("Vault refused the sign-in (%d)", status), why,
		"vault write -address="+k.Address+" "+strings.TrimSuffix(path, "/login")+"/role/"+role+" "+binding(k, role, words)+" token_policies=sops-decrypt")
	f.Code = "SLU-KEY-025"
	return f
}

// binding is what makes the role the ServiceAccount's. The jwt method, which is known by its words, has other fields for it
// than the kubernetes method.
func binding(k Key, role, words string) string {
	namespace, name, _ := strings.Cut(role, "_")
	if strings.Contains(words, "could not be found") || strings.Contains(words, "error validating token") {
		return "role_type=jwt user_claim=sub bound_subject=system:serviceaccount:" + namespace + ":" + name + " bound_audiences=" + k.Address
	}
	return "bound_service_account_names=" + name + " bound_service_account_namespaces=" + namespace + " audience=" + k.Address
}
