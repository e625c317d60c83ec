// Package emulator is an Azure for one machine: Entra ID, Key Vault, the parts of Resource Manager that onboarding uses,
// and an AKS-shaped token issuer, under Azure's own host names behind a CONNECT proxy on loopback with a private
// certificate authority. azure-protocol.md specifies it; Microsoft's SDK and SOPS are its judges.
//
// Everything in it is made through its REST APIs, kept in one folder, and there again after a restart. It refuses to
// listen anywhere but on loopback, to share its folder, and to be more lenient than Azure: whoever passes here passes
// there. It imports neither the client side (internal/azure) nor Azure's SDK, so that neither can hide the other's
// mistakes.
package emulator

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/arm"
	"github.com/sluice-gitops/sluice/internal/emulator/entra"
	"github.com/sluice-gitops/sluice/internal/emulator/issuer"
	"github.com/sluice-gitops/sluice/internal/emulator/keyvault"
	"github.com/sluice-gitops/sluice/internal/emulator/proxy"
	"github.com/sluice-gitops/sluice/internal/emulator/store"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

// Options say where the emulator lives.
type Options struct {
	Dir   string           // state folder; made with mode 0700 if missing
	Addr  string           // host:port of the proxy, on loopback; empty: 127.0.0.1:0
	Clock func() time.Time // of tokens and objects; nil: time.Now. TLS always follows the machine's clock
	Log   *slog.Logger     // one debug record per request, without secrets; nil: none
	// VaultDelay is what each Key Vault request takes longer, as one does over the Internet. For measurements.
	VaultDelay time.Duration
	// Upstream gives the proxy through which hosts that aren't emulated are reached; nil: as the environment says.
	Upstream func(*http.Request) (*url.URL, error)
	Pace     *arm.Pace // how long Resource Manager's long-running operations take; nil: arm.DefaultPace
}

// Emulator is an opened emulator, listening but not yet answering. Serve makes it answer; Close is for those who never
// call Serve.
type Emulator struct {
	store     *store.Store
	authority *proxy.Authority
	proxy     *proxy.Proxy
	issuer    *issuer.Service
	vaults    *keyvault.Service
	arm       *arm.Service
	recorder  *wire.Recorder
}

// Open loads the state under o.Dir or makes a new one, and takes the proxy's address. The first time it makes an RSA
// key, later it only reads. Errors that a user can meet are faults of hop platform.
func Open(o Options) (*Emulator, error) {
	o = o.withDefaults()
	st, err := store.Open(o.Dir)
	if err != nil {
		return nil, err
	}
	e, err := compose(o, st)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return e, nil
}

func (o Options) withDefaults() Options {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Upstream == nil {
		o.Upstream = http.ProxyFromEnvironment
	}
	if o.Pace == nil {
		o.Pace = &arm.DefaultPace
	}
	return o
}

func compose(o Options, st *store.Store) (*Emulator, error) {
	authority, err := proxy.OpenAuthority(o.Dir, domains)
	if err != nil {
		return nil, err
	}
	tokens, err := entra.OpenTokens(st, o.Clock)
	if err != nil {
		return nil, err
	}
	e := &Emulator{
		store: st, authority: authority, recorder: wire.NewRecorder(o.Log),
		issuer: issuer.New(st.State().Issuer()), vaults: keyvault.New(st, tokens, o.Clock),
	}
	e.arm = arm.New(st, tokens, e.vaults, o.Clock, *o.Pace)
	e.proxy, err = proxy.Listen(proxy.Config{
		Addr: o.Addr, Authority: authority, Emulated: e.emulated, Upstream: o.Upstream, Count: e.recorder.Count,
		Azure: e.hosts(
			entra.New(st, tokens, e.issuer.Fetch, o.Clock), delayed(e.vaults, o.VaultDelay), e.arm, e.issuer),
	})
	return e, err
}

// Serve answers until ctx ends, lets requests under way finish, gives the folder back and returns nil. It can be called
// once.
func (e *Emulator) Serve(ctx context.Context) error {
	return errors.Join(e.proxy.Serve(ctx), e.store.Close())
}

// Close gives address and folder back when Serve was not called.
func (e *Emulator) Close() error { return errors.Join(e.proxy.Close(), e.store.Close()) }

// Addr is the proxy's host:port, known as soon as Open returns.
func (e *Emulator) Addr() string { return e.proxy.Addr() }

// CAFile is the path of the certificate, in PEM, that clients must trust.
func (e *Emulator) CAFile() string { return e.authority.File() }

// SetIssuerBackend names where the local cluster's OpenID documents come from: get is called with
// "/.well-known/openid-configuration" or "/openid/v1/jwks" and returns what the API server answers there.
func (e *Emulator) SetIssuerBackend(get func(ctx context.Context, path string) ([]byte, error)) {
	e.issuer.SetBackend(get)
}

// SetClusterEndpoint says where the local cluster's API server is, for listClusterUserCredential: an https URL, and the
// certificate in PEM that its clients must trust.
func (e *Emulator) SetClusterEndpoint(server string, ca []byte) {
	e.arm.SetEndpoint(arm.Endpoint{Server: server, CA: ca})
}

// Requests counts what was asked for since Open, by "service/operation": entra/token, keyvault/challenge,
// keyvault/decrypt, arm/put-vault, issuer/jwks, proxy/tunnel and so on. A Key Vault request without a token counts as
// keyvault/challenge only. A request is counted before it is answered.
func (e *Emulator) Requests() map[string]int { return e.recorder.Counts() }

// SetThrottle makes Key Vault answer 429 wherever decide says so; nil ends it. For tests.
func (e *Emulator) SetThrottle(decide func(vault, operation string) *keyvault.Throttle) {
	e.vaults.SetThrottle(decide)
}

// SetTrouble makes Resource Manager's requests and operations meet t; nil ends it. For tests.
func (e *Emulator) SetTrouble(t *arm.Trouble) { e.arm.SetTrouble(t) }

// RefuseWrites makes every change meet err, as a full disk would; nil ends it. For tests.
func (e *Emulator) RefuseWrites(err error) { e.store.RefuseWrites(err) }
