package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/emulator"
)

// rotating is an emulated vault whose key a developer may read, use and rotate.
type rotating struct {
	key  keyvault.KeyID
	keys *keyvault.Client
	env  []string
}

func newRotating(t *testing.T) *rotating {
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	e, err := emulator.Open(emulator.Options{Dir: t.TempDir()})
	ok(err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx) }()
	pem, err := os.ReadFile(e.CAFile())
	ok(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: e.Addr()}), TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		ok(<-done)
	})
	env, options := e.Env(), azcore.ClientOptions{Transport: &http.Client{Transport: transport}}
	dev, err := identity.NewServicePrincipal(env.TenantID, env.DeveloperClientID, env.DeveloperSecret, "", options)
	ok(err)
	manager, err := arm.New(env.SubscriptionID, dev, options)
	ok(err)
	_, err = manager.EnsureGroup(t.Context(), "g", "westeurope")
	ok(err)
	_, _, err = manager.EnsureVault(t.Context(), "g", arm.VaultSpec{Name: "rotating-vault", Location: "westeurope", TenantID: env.TenantID})
	ok(err)
	vaults, err := armkeyvault.NewVaultsClient(env.SubscriptionID, dev, &azarm.ClientOptions{ClientOptions: options})
	ok(err)
	var may []*armkeyvault.KeyPermissions
	for _, verb := range []armkeyvault.KeyPermissions{"get", "create", "decrypt"} { // not encrypt: that is the point
		may = append(may, &verb)
	}
	_, err = vaults.UpdateAccessPolicy(t.Context(), "g", "rotating-vault", armkeyvault.AccessPolicyUpdateKindAdd, armkeyvault.VaultAccessPolicyParameters{
		Properties: &armkeyvault.VaultAccessPolicyProperties{AccessPolicies: []*armkeyvault.AccessPolicyEntry{
			{TenantID: &env.TenantID, ObjectID: &env.DeveloperObjectID, Permissions: &armkeyvault.Permissions{Keys: may}}}},
	}, nil)
	ok(err)
	v := &rotating{keys: keyvault.New(dev, keyvault.Options{Client: options}), env: []string{
		"HTTPS_PROXY=http://" + e.Addr(), "SSL_CERT_FILE=" + e.CAFile(), "AZURE_TENANT_ID=" + env.TenantID,
		"AZURE_CLIENT_ID=" + env.DeveloperClientID, "AZURE_CLIENT_SECRET=" + env.DeveloperSecret}}
	v.key, _, err = manager.EnsureKey(t.Context(), "g", "rotating-vault", "sops", 2048)
	ok(err)
	return v
}

// away takes the network and the sign-in from the bench.
func (b *bench) away() {
	b.env = slices.DeleteFunc(b.env, func(e string) bool { return strings.HasPrefix(e, "AZURE_") || strings.HasPrefix(e, "HTTPS_PROXY=") })
	b.env = append(b.env, "HTTPS_PROXY=http://127.0.0.1:1")
}

func TestAFetchedKeyEncryptsWithoutNetworkAndPermission(t *testing.T) {
	v, b := newRotating(t), newBench(t)
	newest := v.key.Vault + "/keys/" + v.key.Name
	home := slices.Clone(b.env)
	b.env = append(b.env, v.env...)
	key, _, err := v.keys.PublicKey(t.Context(), v.key)
	if err != nil {
		t.Fatal(err)
	}
	if out := b.must("keys", "fetch", newest); !strings.Contains(out, key.String()+"\tstored") {
		t.Errorf("fetched: %s", out)
	}
	if out := b.must("keys", "fetch", key.String()); !strings.Contains(out, "already there") {
		t.Errorf("fetched again: %s", out)
	}
	b.must("keys", "fetch", "--check")
	if out := b.must("keys", "list"); !strings.Contains(out, key.String()) {
		t.Errorf("list: %s", out)
	}

	b.env = slices.Clone(home)
	b.away()
	b.must("init", "--azure-kv", newest)
	b.write("a.yaml", sample)
	b.must("encrypt", "-i", "a.yaml")
	if text := b.read("a.yaml"); !strings.Contains(text, key.Version) || strings.Contains(text, "CANARY") {
		t.Fatalf("sealed as\n%s", text)
	}
	b.env = append(slices.Clone(home), v.env...)
	if out := b.must("decrypt", "a.yaml"); !strings.Contains(out, "CANARY-hunter2") {
		t.Error("the vault does not open what was sealed without it")
	}
	b.must("check", "--online", "--decrypt")

	// The key is rotated: store and file are stale, and whoever looks is told.
	if _, err := v.keys.CreateKey(t.Context(), v.key, 2048); err != nil {
		t.Fatal(err)
	}
	if code, out, errOut := b.sluice("keys", "fetch", "--check"); code != 1 || !strings.Contains(out, "newest version is") {
		t.Errorf("a stale key: exit %d\n%s%s", code, out, errOut)
	}
	if code, out, errOut := b.sluice("check", "--online", "--decrypt"); code != 1 || !strings.Contains(out, "stale-key-version") || !strings.Contains(errOut, "1 MACs verified") {
		t.Errorf("a stale document: exit %d\n%s%s", code, out, errOut)
	}

	// A stored key that was exchanged is not used.
	stored, err := filepath.Glob(b.path(".sluice/keys/*.json"))
	if err != nil || len(stored) != 1 {
		t.Fatalf("stored: %v, %v", stored, err)
	}
	data, err := os.ReadFile(stored[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stored[0], []byte(strings.Replace(string(data), `"thumbprint": "`, `"thumbprint": "x`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	b.write("b.yaml", sample)
	if code, _, errOut := b.sluice("encrypt", "-i", "b.yaml"); code == 0 || !strings.Contains(errOut, "not the one that was fetched") {
		t.Errorf("an exchanged key: exit %d\n%s", code, errOut)
	}
}

func TestKeysSayWhatIsMissing(t *testing.T) {
	b := newBench(t)
	if code, _, errOut := b.sluice("keys", "fetch"); code != 2 || !strings.Contains(errOut, "URLs") {
		t.Errorf("exit %d\n%s", code, errOut)
	}
	if code, _, _ := b.sluice("keys", "list"); code != 1 {
		t.Errorf("an empty list: exit %d", code)
	}
}
