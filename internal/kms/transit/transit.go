// Package transit is the client side of the transit engine of HashiCorp Vault and OpenBao: it decrypts and encrypts SOPS
// data keys at the address that a document names.
//
// It stands behind the keyring. That address is anybody's to write who can write to the repository, and the request
// carries a token: so it refuses addresses that are not https unless they were allowed by name, addresses outside the
// list where there is one, and redirects. Every error is a *fault.Fault of hop "vault" or "key", or the context's; none
// holds a token, a data key or the server's words.
package transit

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/sluice-gitops/sluice/internal/kms"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// Key names a transit key, as a SOPS document does.
type Key struct {
	Address string // of the server: https://vault.example.com:8200
	Engine  string // path of the engine: transit
	Name    string
}

// String gives the key's URL.
func (k Key) String() string {
	return strings.TrimRight(k.Address, "/") + "/v1/" + k.Engine + "/keys/" + k.Name
}

// Options configure a Client.
type Options struct {
	HTTP      *http.Client // nil: kms.NewHTTP
	Namespace string       // sent as X-Vault-Namespace; empty: none
	Allow     []Allowlist  // every one must allow an address; none: any https address
	// NeedList refuses every address while Allow is empty: a token that was put there for all is not sent to whoever asks.
	NeedList  bool
	PlainHTTP bool // allows http without naming the address, as sops does on a person's machine
	// SignIn gets the tokens, and says alone where they and what they cost may be sent; nil: New's token is used.
	SignIn *SignIn
}

// Client speaks to servers with one token. It is safe for concurrent use.
type Client struct {
	token func(context.Context) (string, error)
	opts  Options
}

// New returns a client whose token is asked for with every request. It sends nothing.
func New(token func(context.Context) (string, error), o Options) *Client {
	if o.HTTP == nil {
		o.HTTP = kms.NewHTTP(nil)
	}
	return &Client{token, o}
}

// Static is a token that does not change.
func Static(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// Decrypt opens a data key. enc is what the document stores: vault:v1:….
func (c *Client) Decrypt(ctx context.Context, k Key, enc string) ([]byte, error) {
	var reply struct {
		Data struct {
			Plaintext string `json:"plaintext"`
		} `json:"data"`
	}
	if err := c.post(ctx, k, "decrypt", map[string]string{"ciphertext": enc}, &reply); err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(reply.Data.Plaintext)
	if err != nil || len(key) == 0 {
		return nil, c.about(k).Refusal(http.StatusOK, "", kms.Other)
	}
	return key, nil
}

// Encrypt wraps a data key and returns what a document stores.
func (c *Client) Encrypt(ctx context.Context, k Key, dataKey []byte) (string, error) {
	var reply struct {
		Data struct {
			Ciphertext string `json:"ciphertext"`
		} `json:"data"`
	}
	in := map[string]string{"plaintext": base64.StdEncoding.EncodeToString(dataKey)}
	if err := c.post(ctx, k, "encrypt", in, &reply); err != nil {
		return "", err
	}
	if !strings.HasPrefix(reply.Data.Ciphertext, "vault:") {
		return "", c.about(k).Refusal(http.StatusOK, "", kms.Other)
	}
	return reply.Data.Ciphertext, nil
}

// segment is a path segment that means itself.
var segment = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

func (c *Client) post(ctx context.Context, k Key, op string, in, out any) error {
	about := c.about(k)
	if err := c.check(k); err != nil {
		return err
	}
	token, err := c.tokenFor(ctx, k)
	if err != nil {
		return about.Unreachable(ctx, err)
	}
	header := http.Header{"X-Vault-Token": {token}, "X-Vault-Request": {"true"}}
	if c.opts.Namespace != "" {
		header.Set("X-Vault-Namespace", c.opts.Namespace)
	}
	target := strings.TrimRight(k.Address, "/") + "/v1/" + path.Join(k.Engine, op, k.Name)
	status, refusal, err := kms.Post(ctx, c.opts.HTTP, target, header, in, out)
	switch {
	case err != nil:
		return about.Unreachable(ctx, err)
	case status == http.StatusOK:
		return nil
	}
	if op == "encrypt" {
		about.Grant = grant(k, op)
	}
	code, kind := classify(status, refusal)
	if c.opts.SignIn != nil && (kind == kms.Unauthenticated || kind == kms.Forbidden) {
		c.opts.SignIn.forget(k.Address) // it may have been revoked, or lack what its role was given since
	}
	f := about.Refusal(status, code, kind)
	if code == sealed {
		f.Why, f.Fix = "it was restarted or sealed, and nobody has given it its unseal keys since", "vault operator unseal -address="+origin(k)
	}
	return f
}

func (c *Client) tokenFor(ctx context.Context, k Key) (string, error) {
	if c.opts.SignIn != nil {
		return c.opts.SignIn.token(ctx, c, k)
	}
	return c.token(ctx)
}

// check refuses what must not be sent a token.
func (c *Client) check(k Key) error {
	about := c.about(k)
	u, err := url.Parse(k.Address)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return about.Malformed("the document's vault_address is not the address of a server", "it must be a scheme and a host, nothing more",
			"correct vault_address: https://vault.example.com:8200")
	}
	for _, s := range append(strings.Split(k.Engine, "/"), k.Name) {
		if !segment.MatchString(s) {
			return about.Malformed("the document's engine_path or key_name is not one", "it would change what is asked of the server",
				"correct engine_path and key_name")
		}
	}
	if c.opts.SignIn != nil {
		return nil // asked when the token is: an address that is not in its list gets none
	}
	origin := u.Scheme + "://" + u.Host
	if c.opts.NeedList && len(c.opts.Allow) == 0 {
		return c.refuse(about, origin, "the controller's own token is sent only where its environment allows it",
			"set SOPS_HC_VAULT_ALLOWLIST="+origin+" on the controller's Deployment")
	}
	for _, list := range c.opts.Allow {
		if !list.allows(origin) {
			return c.refuse(about, origin, "the list of addresses that the token may be sent to ("+list.Source+") does not hold it",
				"add "+origin+" to "+list.Source+", or correct the document's vault_address")
		}
	}
	if u.Scheme != "https" && !c.opts.PlainHTTP && !c.named(origin) {
		return c.refuse(about, origin, "a token is sent over plain http only to addresses that are named for it",
			"use https, or name "+origin+" in the Secret's entry sops.vault-address")
	}
	return nil
}

func (c *Client) refuse(about kms.Key, origin, why, fix string) error {
	f := about.Malformed("no token is sent to "+origin, why, fix)
	f.Code = "SLU-KEY-024"
	return f
}

// named reports whether a list names the address, instead of letting all through.
func (c *Client) named(origin string) bool {
	for _, list := range c.opts.Allow {
		if !list.All && list.allows(origin) {
			return true
		}
	}
	return false
}

func (c *Client) about(k Key) kms.Key {
	host := "the address"
	if u, err := url.Parse(k.Address); err == nil && u.Host != "" {
		host = u.Host
	}
	return kms.Key{
		Service: "Vault", Name: k.Engine + "/" + k.Name + " at " + host, Host: host,
		SignIn: "vault token lookup -address=" + origin(k),
		Grant:  grant(k, "decrypt"),
		Show:   "vault read -address=" + origin(k) + " " + path.Join(k.Engine, "keys", k.Name),
	}
}

// origin is the server's address as vault's command takes it.
func origin(k Key) string {
	if u, err := url.Parse(k.Address); err == nil && u.Host != "" && u.Scheme == "http" {
		return "http://" + u.Host
	} else if err == nil && u.Host != "" {
		return "https://" + u.Host
	}
	return "<address>"
}

// grant is the command that permits an operation with the key.
func grant(k Key, op string) string {
	return "vault policy write -address=" + origin(k) + " sops-" + op + " - <<< 'path \"" + path.Join(k.Engine, op, k.Name) + "\" { capabilities = [\"update\"] }'"
}

// sealed is the code of a server that has no key to its own storage.
const sealed = "(vault is sealed)"

// unknownToken is the whole answer to a token that Vault up to 1.14 does not know, or no longer; what a policy refuses is
// told in a list: "1 error occurred: …".
var unknownToken = lazyregexp.New(`^\s*\{\s*"errors"\s*:\s*\[\s*"permission denied"\s*\]\s*\}\s*$`)

// classify finds the cause in Vault's words, which are no code, by phrases that its sources hold.
func classify(status int, body []byte) (code string, kind kms.Kind) {
	text := strings.ToLower(string(body))
	if status == http.StatusForbidden && unknownToken.MatchString(text) {
		return "(permission denied)", kms.Unauthenticated
	}
	for _, p := range []struct {
		phrase string
		kind   kms.Kind
	}{
		{"vault is sealed", kms.Other},
		{"encryption key not found", kms.NotFound},
		{"no handler for route", kms.NotFound},
		{"invalid ciphertext", kms.BadCiphertext},
		{"message authentication failed", kms.BadCiphertext},
		{"ciphertext or signature version is disallowed", kms.Unusable},
		{"not supported for key type", kms.Unusable},
		{"invalid token", kms.Unauthenticated}, // beside "permission denied", from Vault 1.15 on
		{"missing client token", kms.Unauthenticated},
		{"permission denied", kms.Forbidden},
	} {
		if strings.Contains(text, p.phrase) {
			return "(" + p.phrase + ")", p.kind
		}
	}
	return "", kms.KindOf(status)
}
