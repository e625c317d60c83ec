// Command server is a HashiCorp Vault for the judges' tests: the real core and HTTP front, on storage in memory, with
// the transit engine and the jwt auth method compiled in. It is started by package realvault, prints one JSON line
// (address, root token and unseal key) when it is unsealed, and ends when its standard input does.
//
// It listens on loopback alone and speaks to nobody else: no telemetry, no audit device, no plugin process. It is a
// module of its own because Vault's requirements must not choose those of the product, which links none of this.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/hashicorp/go-hclog"
	jwtauth "github.com/hashicorp/vault-plugin-auth-jwt"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

var engine = completed(transit.Factory)

func main() {
	completeSystem()
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "vault:", err)
		os.Exit(1)
	}
}

// run serves until in ends.
func run(in io.Reader, out io.Writer) error {
	core, err := newCore(hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr}))
	if err != nil {
		return err
	}
	root, key, err := open(context.Background(), core)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{}})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if err := json.NewEncoder(out).Encode(map[string]string{
		"address": "http://" + listener.Addr().String(), "token": root, "unsealKey": key,
	}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	if err := server.Close(); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return core.Shutdown()
}

func newCore(log hclog.Logger) (*vault.Core, error) {
	storage, err := inmem.NewInmem(nil, log)
	if err != nil {
		return nil, err
	}
	return vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		Logger:             log,
		DisableMlock:       true, // needs a privilege, and guards secrets that are real
		BuiltinRegistry:    builtins{},
		LogicalBackends:    map[string]logical.Factory{"transit": engine},
		CredentialBackends: map[string]logical.Factory{"jwt": jwtauth.Factory},
	})
}

// open initialises the core with one unseal key and unseals it.
func open(ctx context.Context, core *vault.Core) (root, key string, err error) {
	shares := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: shares, RecoveryConfig: &vault.SealConfig{}})
	if err != nil {
		return "", "", err
	}
	unsealed, err := core.Unseal(made.SecretShares[0])
	if err != nil {
		return "", "", err
	}
	if !unsealed {
		return "", "", errors.New("it stays sealed")
	}
	return made.RootToken, fmt.Sprintf("%x", made.SecretShares[0]), nil
}

// builtins is the catalogue of what is compiled in, without the fifty plugins of Vault's own.
type builtins struct{}

var compiledIn = map[consts.PluginType]string{consts.PluginTypeSecrets: "transit", consts.PluginTypeCredential: "jwt"}

func (builtins) Contains(name string, kind consts.PluginType) bool { return compiledIn[kind] == name }

func (b builtins) Get(name string, kind consts.PluginType) (func() (interface{}, error), bool) {
	if !b.Contains(name, kind) {
		return nil, false
	}
	factory := engine
	if kind == consts.PluginTypeCredential {
		factory = jwtauth.Factory
	}
	return func() (interface{}, error) { return factory, nil }, true
}

func (builtins) Keys(kind consts.PluginType) []string {
	if name, ok := compiledIn[kind]; ok {
		return []string{name}
	}
	return nil
}

func (b builtins) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, b.Contains(name, kind)
}

func (builtins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
