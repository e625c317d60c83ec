// Package keyring gives SOPS documents their data keys: it tries the recipients that an identity can open, age and PGP
// keys in this process, Key Vault keys over the network, and remembers what it unwrapped.
//
// It stands between package sops, which asks, and the providers. The memory is what makes a reconcile of unchanged
// documents free of vault calls. It is parted by identity: a data key that one tenant's identity unwrapped is never
// served to another, not even for the same document.
//
// It refuses to keep a data key longer than its TTL, to serve any key of an identity that a vault or Entra ID has since
// turned away, and to write keys anywhere. Nothing of it survives the process. Errors are *fault.Fault of the hop that
// failed, or the context's.
package keyring

import (
	"context"
	"net/http"
	"time"

	"filippo.io/age"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// Identity is what opens documents on behalf of one tenant.
type Identity struct {
	// Name parts the memory: "flux-system/kustomize-controller" or "namespace/kustomization". Two tenants must never
	// share one.
	Name  string
	Azure azcore.TokenCredential // nil: none
	// AzureErr says why Azure is nil, for documents that need it: the fault of a pod without identity, for example.
	AzureErr error
	Age      []age.Identity
	PGP      openpgp.EntityList
	Clouds

	// fingerprint is set for identities that are read from Secrets, again and again: equal ones keep their memory.
	fingerprint [32]byte
	station     *station // a person's machine; nil in a controller
}

// Options configure a Ring. The zero value is ready for use.
type Options struct {
	Transport policy.Transporter  // for Key Vault, an *http.Client for example; nil: the SDK's own
	Retry     policy.RetryOptions // for Key Vault; zero: three retries within 20 s, Retry-After honoured
	TTL       time.Duration       // of a data key in memory; 0: one hour
	MaxKeys   int                 // data keys in memory, all identities together; 0: 10,000
	Timeout   time.Duration       // of one unwrapping, retries included; 0: 30 s. The caller's context may end earlier
	Clock     func() time.Time    // nil: time.Now, whose monotonic reading makes a set clock harmless
	Suffixes  []string            // of vault host names; nil: Azure's
	Services  Services            // where the other key services are
	Order     []string            // kinds of recipients to ask first ("age", "azure_kv"), in a group; nil: what costs least

	// RoundTripper carries the requests to the other key services; nil: a transport with the environment's proxy.
	RoundTripper http.RoundTripper
	Observe      func(cached bool) // told of each wrapped data key that was looked for in memory; nil: nobody
}

// Ring holds the data keys and Key Vault clients of all identities. It is safe for concurrent use.
type Ring struct {
	opts  Options
	cache *cache
	parts parts
}

// New returns an empty ring.
func New(o Options) *Ring {
	if o.TTL == 0 {
		o.TTL = time.Hour
	}
	if o.MaxKeys == 0 {
		o.MaxKeys = 10_000
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Observe == nil {
		o.Observe = func(bool) {}
	}
	r := &Ring{opts: o, cache: newCache(o.TTL, o.MaxKeys, o.Clock)}
	r.parts.byName = map[string]*partition{}
	return r
}

// For returns the keyring of one identity. Calling it again with the same name keeps what the identity has unwrapped,
// unless its credentials changed: then all of that is dropped.
func (r *Ring) For(id Identity) sops.Keyring {
	return &opener{ring: r, id: id}
}

// Len counts the data keys in memory.
func (r *Ring) Len() int {
	r.cache.mu.Lock()
	defer r.cache.mu.Unlock()
	return r.cache.order.Len()
}

// Forget drops the data keys and Key Vault clients of an identity: its Kustomization is gone, or its rights are in doubt.
func (r *Ring) Forget(identityName string) {
	if p := r.parts.remove(identityName); p != nil {
		r.cache.drop(p)
	}
}

// opener is a Ring seen by one identity.
type opener struct {
	ring *Ring
	id   Identity
}

var _ sops.Keyring = (*opener)(nil)

// DataKey implements sops.Keyring.
func (o *opener) DataKey(ctx context.Context, doc *sops.Metadata) ([]byte, error) {
	return (&session{ring: o.ring, part: o.ring.partition(o.id), id: o.id}).dataKey(ctx, doc)
}

// partition returns the identity's share of the ring. What its former credentials unwrapped is dropped.
func (r *Ring) partition(id Identity) *partition {
	p, stale := r.parts.get(id, r.newPartition)
	if stale != nil {
		r.cache.drop(stale)
	}
	return p
}

func (r *Ring) newPartition(id Identity) *partition {
	p := &partition{fingerprint: id.fingerprint, cred: id.Azure, clouds: id.Clouds, clients: r.newClients(id)}
	if id.Azure != nil {
		p.vaults = r.newVaults(id.Azure)
	}
	return p
}

func (r *Ring) newVaults(cred azcore.TokenCredential) *keyvault.Client {
	return keyvault.New(cred, keyvault.Options{
		Client:   azcore.ClientOptions{Transport: r.opts.Transport, Retry: r.opts.Retry},
		Suffixes: r.opts.Suffixes,
	})
}
