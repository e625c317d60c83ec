// Package gcp is the client side of Google Cloud KMS: it decrypts and encrypts SOPS data keys, as one identity, over the
// service's JSON protocol. The same identities sign in to GKE clusters (Cluster).
//
// It stands behind the keyring. It refuses to look for credentials: a Client has the token source that it was given, and
// only Default, for a person's machine and a controller's own identity, looks where Google's libraries do. Credentials
// that a tenant wrote are taken only if they are a service account's key: other kinds name files to read and hosts to
// send them to. A key's name must be that of a key, because it becomes part of a URL. Every error is a *fault.Fault of
// hop "identity", "vault" or "key", or the context's; none holds the service's words.
package gcp

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"golang.org/x/oauth2"

	"github.com/sluice-gitops/sluice/internal/kms"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// Options configure a Client. The zero value serves Google's own cloud.
type Options struct {
	HTTP     *http.Client // nil: kms.NewHTTP
	Endpoint string       // https URL without path; empty: https://cloudkms.googleapis.com
}

// Client speaks to KMS as one identity. It is safe for concurrent use.
type Client struct {
	tokens oauth2.TokenSource
	opts   Options
}

// New returns a client for the keys that the identity may use. tokens must be safe for concurrent use and keep its token,
// as oauth2.ReuseTokenSource does. It sends nothing.
func New(tokens oauth2.TokenSource, o Options) *Client {
	if o.HTTP == nil {
		o.HTTP = kms.NewHTTP(nil)
	}
	if o.Endpoint == "" {
		o.Endpoint = "https://cloudkms.googleapis.com"
	}
	return &Client{tokens, o}
}

// keyName is a key's resource name, in characters that mean themselves in a URL.
var keyName = lazyregexp.New(`^projects/[A-Za-z0-9:._-]+/locations/[A-Za-z0-9-]+/keyRings/[A-Za-z0-9_-]+/cryptoKeys/[A-Za-z0-9_-]+$`)

// Decrypt opens a data key; enc is the raw ciphertext. It needs cloudkms.cryptoKeyVersions.useToDecrypt.
func (c *Client) Decrypt(ctx context.Context, key string, enc []byte) ([]byte, error) {
	var out struct {
		Plaintext []byte `json:"plaintext"`
	}
	err := c.post(ctx, key, "decrypt", map[string][]byte{"ciphertext": enc}, &out)
	return out.Plaintext, err
}

// Encrypt wraps a data key and returns the raw ciphertext. It needs cloudkms.cryptoKeyVersions.useToEncrypt.
func (c *Client) Encrypt(ctx context.Context, key string, dataKey []byte) ([]byte, error) {
	var out struct {
		Ciphertext []byte `json:"ciphertext"`
	}
	err := c.post(ctx, key, "encrypt", map[string][]byte{"plaintext": dataKey}, &out)
	return out.Ciphertext, err
}

func (c *Client) post(ctx context.Context, key, op string, in, out any) error {
	about := about(key, c.opts.Endpoint, op)
	if !keyName.MatchString(key) {
		return about.Malformed("the document's resource_id is not that of a KMS key", "it becomes part of the address that is asked",
			"correct resource_id: projects/<project>/locations/<location>/keyRings/<ring>/cryptoKeys/<key>")
	}
	token, err := tokenOf(ctx, c.tokens)
	if err != nil {
		return signInFailed(ctx, about, err)
	}
	header := http.Header{"Authorization": {"Bearer " + token.AccessToken}}
	status, refusal, err := kms.Post(ctx, c.opts.HTTP, c.opts.Endpoint+"/v1/"+key+":"+op, header, in, out)
	switch {
	case err != nil:
		return about.Unreachable(ctx, err)
	case status == http.StatusOK:
		return nil
	}
	code, kind := classify(status, refusal, op)
	return about.Refusal(status, code, kind)
}

// tokenOf waits for the token no longer than the context: token sources take none.
func tokenOf(ctx context.Context, src oauth2.TokenSource) (*oauth2.Token, error) {
	type answer struct {
		token *oauth2.Token
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		token, err := src.Token()
		got <- answer{token, err}
	}()
	select {
	case a := <-got:
		return a.token, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// statuses are the canonical codes of Google's APIs.
var statuses = map[string]kms.Kind{
	"UNAUTHENTICATED": kms.Unauthenticated, "PERMISSION_DENIED": kms.Forbidden, "NOT_FOUND": kms.NotFound,
	"FAILED_PRECONDITION": kms.Unusable, "RESOURCE_EXHAUSTED": kms.Throttled,
	"UNAVAILABLE": kms.Other, "INTERNAL": kms.Other, "DEADLINE_EXCEEDED": kms.Other, "ABORTED": kms.Other,
}

func classify(status int, body []byte, op string) (code string, kind kms.Kind) {
	var reply struct {
		Error struct {
			Status string `json:"status"`
		} `json:"error"`
	}
	_ = json.Unmarshal(body, &reply)
	if kind, ok := statuses[reply.Error.Status]; ok {
		return reply.Error.Status, kind
	}
	if reply.Error.Status == "INVALID_ARGUMENT" && op == "decrypt" {
		return reply.Error.Status, kms.BadCiphertext
	}
	return "", kms.KindOf(status)
}

func about(key, endpoint, op string) kms.Key {
	host := strings.TrimPrefix(strings.TrimPrefix(endpoint, "https://"), "http://")
	role := "roles/cloudkms.cryptoKeyDecrypter"
	if op == "encrypt" {
		role = "roles/cloudkms.cryptoKeyEncrypter"
	}
	return kms.Key{
		Service: "Google Cloud KMS", Name: key, Host: host, SignIn: "gcloud auth application-default login",
		Grant: "gcloud kms keys add-iam-policy-binding " + key + " --member=serviceAccount:<email> --role=" + role,
		Show:  "gcloud kms keys describe " + key,
	}
}
