// Package keyvault is the client side of Azure Key Vault's keys: it unwraps SOPS data keys, reads public keys, and wraps
// data keys with a public key alone.
//
// It stands behind the keyring, which decides which recipient to ask. A Client belongs to one credential and keeps one
// connection of the SDK per vault, so the vault's authentication challenge is paid once, not once per document.
//
// It refuses hosts that are not Key Vault's: the vault URL comes out of a document that anybody who can write to the
// repository can write, and must not become a way to make the controller call any host it can reach. Every error is a
// *fault.Fault of hop "vault" (the access decision) or "key" (the key and its version), of whatever hop the credential
// reports, or the context's; none holds a data key.
package keyvault

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// DefaultSuffixes are the DNS suffixes of Key Vault and Managed HSM in Azure's clouds.
var DefaultSuffixes = cloud.VaultSuffixes()

// Options configure a Client. The zero value serves Azure's clouds through the SDK's own transport.
type Options struct {
	Client   azcore.ClientOptions // Transport and Retry
	Suffixes []string             // nil: DefaultSuffixes; each with its leading dot
}

// Client speaks to vaults as one credential. It is safe for concurrent use.
type Client struct {
	cred azcore.TokenCredential
	opts Options

	mu     sync.Mutex
	vaults map[string]*vault
}

// vault is the SDK's client for one vault, and the gate that lets only one request pass until the challenge has been
// answered once: fifty workers that start together would otherwise all elicit their own.
type vault struct {
	keys   *azkeys.Client
	ready  atomic.Bool
	prober chan struct{}
}

// New returns a client for the vaults that cred may use. It sends nothing.
func New(cred azcore.TokenCredential, o Options) *Client {
	if o.Suffixes == nil {
		o.Suffixes = DefaultSuffixes
	}
	r := &o.Client.Retry
	if r.MaxRetries == 0 {
		r.MaxRetries = 3
	}
	if r.RetryDelay == 0 {
		r.RetryDelay = 500 * time.Millisecond
	}
	if r.MaxRetryDelay == 0 {
		r.MaxRetryDelay = 20 * time.Second // a longer Retry-After is the reconciler's business
	}
	if r.ShouldRetry == nil {
		r.ShouldRetry = worthRetrying
	}
	return &Client{cred: cred, opts: o, vaults: map[string]*vault{}}
}

// Unwrap decrypts a data key with the key's private half, as sops does: the operation is decrypt, the algorithm
// RSA-OAEP-256, and the permission needed keys/decrypt. enc is the raw ciphertext.
func (c *Client) Unwrap(ctx context.Context, id KeyID, enc []byte) ([]byte, error) {
	var plain []byte
	err := c.call(ctx, id, opDecrypt, func(keys *azkeys.Client) error {
		alg := azkeys.EncryptionAlgorithmRSAOAEP256
		res, err := keys.Decrypt(ctx, id.Name, id.Version, azkeys.KeyOperationParameters{Algorithm: &alg, Value: enc}, nil)
		plain = res.Result
		return err
	})
	return plain, err
}

// Wrap encrypts a data key in the vault, which needs keys/encrypt, and returns the raw ciphertext with the id of the
// key version that was used. WrapOffline needs no permission and gives the same.
func (c *Client) Wrap(ctx context.Context, id KeyID, dataKey []byte) (KeyID, []byte, error) {
	var enc []byte
	err := c.call(ctx, id, opEncrypt, func(keys *azkeys.Client) error {
		alg := azkeys.EncryptionAlgorithmRSAOAEP256
		res, err := keys.Encrypt(ctx, id.Name, id.Version, azkeys.KeyOperationParameters{Algorithm: &alg, Value: dataKey}, nil)
		if enc = res.Result; err == nil && res.KID != nil && res.KID.Version() != "" {
			id.Version = res.KID.Version()
		}
		return err
	})
	return id, enc, err
}

// PublicKey reads the public half of a key. Without a version it reads the current one; the returned id always has a
// version. It needs keys/get.
func (c *Client) PublicKey(ctx context.Context, id KeyID) (KeyID, *rsa.PublicKey, error) {
	var pub *rsa.PublicKey
	err := c.call(ctx, id, opGet, func(keys *azkeys.Client) error {
		res, err := keys.GetKey(ctx, id.Name, id.Version, nil)
		if err != nil {
			return err
		}
		if res.Key == nil || res.Key.KID == nil || len(res.Key.N) == 0 || len(res.Key.E) == 0 || len(res.Key.E) > 4 {
			return notRSA(id)
		}
		pub = &rsa.PublicKey{N: new(big.Int).SetBytes(res.Key.N), E: int(new(big.Int).SetBytes(res.Key.E).Int64())}
		id.Version = res.Key.KID.Version()
		return nil
	})
	return id, pub, err
}

// call runs one operation on the vault of id, once more after a 401 with a renewed credential, and explains what fails.
func (c *Client) call(ctx context.Context, id KeyID, op operation, do func(*azkeys.Client) error) error {
	v, err := c.vault(id)
	if err != nil {
		return err
	}
	err = v.pass(ctx, do)
	if renewer, ok := c.cred.(interface{ Renew() }); ok && statusOf(err) == http.StatusUnauthorized {
		// The token was good by its own dates: a key rollover at Entra ID, a moved vault, a clock that is off.
		renewer.Renew()
		err = v.pass(ctx, do)
	}
	if err == nil {
		return nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("key vault %s: %w", id.VaultName(), ctxErr)
	}
	if f := fault.From(err); f != nil {
		return f
	}
	return explain(err, id, op)
}

func (c *Client) vault(id KeyID) (*vault, error) {
	if err := id.check(c.opts.Suffixes); err != nil {
		return nil, err
	}
	key := strings.ToLower(id.Vault)
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.vaults[key]; ok {
		return v, nil
	}
	keys, err := azkeys.NewClient(id.Vault, c.cred, &azkeys.ClientOptions{ClientOptions: c.opts.Client})
	if err != nil {
		return nil, explain(err, id, opGet)
	}
	v := &vault{keys: keys, prober: make(chan struct{}, 1)}
	c.vaults[key] = v
	return v, nil
}

// pass runs do, alone as long as the vault has never answered an authorized request.
func (v *vault) pass(ctx context.Context, do func(*azkeys.Client) error) error {
	if v.ready.Load() {
		return do(v.keys)
	}
	select {
	case v.prober <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if v.ready.Load() { // the one before us opened the gate
		<-v.prober
		return do(v.keys)
	}
	defer func() { <-v.prober }()
	err := do(v.keys)
	if s := statusOf(err); err == nil || (s != 0 && s != http.StatusUnauthorized) {
		v.ready.Store(true)
	}
	return err
}

// worthRetrying leaves out what seconds do not mend: a name that does not exist, a certificate that is not trusted.
func worthRetrying(res *http.Response, err error) bool {
	if err != nil {
		var dns *net.DNSError
		return !(errors.As(err, &dns) && dns.IsNotFound) && !strings.Contains(err.Error(), "x509:") && fault.From(err) == nil
	}
	switch res.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// statusOf returns the HTTP status of a refused request, 0 for anything else.
func statusOf(err error) int {
	var r *azcore.ResponseError
	if errors.As(err, &r) {
		return r.StatusCode
	}
	return 0
}

// EncodeEnc gives a wrapped data key the form that a SOPS document stores: base64url without padding.
func EncodeEnc(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// DecodeEnc reads what a SOPS document stores; padding is tolerated.
func DecodeEnc(enc string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(enc), "="))
}
