package local

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sluice-gitops/sluice/examples/aks"
	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/emulator"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/local/state"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// emulated starts an emulator and returns a supervisor that has only that.
func emulated(t *testing.T) *supervisor {
	t.Helper()
	d := state.Dir(t.TempDir())
	if err := state.Create(d); err != nil {
		t.Fatal(err)
	}
	em, err := emulator.Open(emulator.Options{Dir: d.Emulator()})
	if err != nil {
		t.Fatal(err)
	}
	s := &supervisor{o: Options{Dir: d, Version: "v0.1.0"}, emulator: em, sink: event.Discard, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	s.rec = state.NewKeeper(d, &state.Record{State: state.Starting, Options: state.Options{Path: DefaultPath}, Ports: state.Ports{Git: 4711}})
	s.services = newServices(s.log)
	s.services.start("emulator", em.Serve)
	t.Cleanup(s.services.stop)
	return s
}

func TestProvisionMakesEverythingThroughTheAPIsAndOnlyOnce(t *testing.T) {
	s := emulated(t)
	ctx := context.Background()
	url, err := s.provision(ctx, event.Start(event.Discard, "azure", ""))
	if err != nil {
		t.Fatal(err)
	}
	a := s.rec.Get().Azure
	if a.ClientID == "" || a.PrincipalID == "" || a.ClientID == a.PrincipalID || a.KeyURL != url || !strings.HasPrefix(url, "https://"+a.Vault+".vault.azure.net/keys/") {
		t.Errorf("%q, %+v", url, a)
	}
	writes := func() (n int) {
		for op, count := range s.emulator.Requests() {
			if strings.HasPrefix(op, "arm/put") || strings.Contains(op, "create") {
				n += count
			}
		}
		return n
	}
	before := writes()
	again, err := s.provision(ctx, event.Start(event.Discard, "azure", ""))
	if err != nil || again != url || writes() != before || before == 0 {
		t.Errorf("again: %q, %v; %d writes became %d", again, err, before, writes())
	}
}

func TestResourceManagerSaysWhereTheLocalClusterIs(t *testing.T) {
	s := emulated(t)
	ctx := t.Context()
	if _, err := s.provision(ctx, event.Start(event.Discard, "azure", "")); err != nil {
		t.Fatal(err)
	}
	env := s.emulator.Env()
	transport, err := s.emulator.Client()
	if err != nil {
		t.Fatal(err)
	}
	cred, err := identity.ForServicePrincipal(env.TenantID, env.DeveloperClientID, env.DeveloperSecret, transport)
	if err != nil {
		t.Fatal(err)
	}
	c, err := arm.New(env.SubscriptionID, cred, azcore.ClientOptions{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	// As az aks update --enable-aad does: without it nobody of Entra ID has a kubeconfig.
	token, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "https://management.azure.com/subscriptions/"+env.SubscriptionID+"/resourceGroups/"+resourceGroup+
		"/providers/Microsoft.ContainerService/managedClusters/"+aksName+"?api-version=2025-05-01", strings.NewReader(`{"location":"westeurope","properties":{"oidcIssuerProfile":{"enabled":true},"securityProfile":{"workloadIdentity":{"enabled":true}},"aadProfile":{"managed":true}}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Token)
	req.Header.Set("Content-Type", "application/json")
	res, err := transport.Do(req)
	if err != nil || res.StatusCode >= 300 {
		t.Fatal(res, err)
	}
	_ = res.Body.Close()
	if _, err := c.UserKubeconfigs(ctx, resourceGroup, aksName); err == nil {
		t.Error("a cluster that does not run has an address")
	}
	if err := s.announceCluster(&rest.Config{Host: "https://127.0.0.1:4712", TLSClientConfig: rest.TLSClientConfig{CAFile: s.emulator.CAFile()}}); err != nil {
		t.Fatal(err)
	}
	texts, err := c.UserKubeconfigs(ctx, resourceGroup, aksName)
	if err != nil || len(texts) != 1 {
		t.Fatalf("%d kubeconfigs, %v", len(texts), err)
	}
	got, err := clientcmd.Load(texts[0])
	if err != nil || got.Clusters[aksName] == nil || got.Clusters[aksName].Server != "https://127.0.0.1:4712" || !strings.Contains(string(got.Clusters[aksName].CertificateAuthorityData), "BEGIN CERTIFICATE") {
		t.Errorf("%s, %v", texts[0], err)
	}
}

func TestSampleIsSealedBeforeItIsCommitted(t *testing.T) {
	s := emulated(t)
	ctx := context.Background()
	if _, err := s.provision(ctx, event.Start(event.Discard, "azure", "")); err != nil {
		t.Fatal(err)
	}
	files, err := sampleFiles(ctx, s.sealing)
	if err != nil {
		t.Fatal(err)
	}
	value, err := aks.SecretValue()
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range files {
		for _, never := range []string{value, base64.StdEncoding.EncodeToString([]byte(value))} {
			if bytes.Contains(data, []byte(never)) {
				t.Errorf("%s holds %q", path, never)
			}
		}
	}
	secret := files[aks.SecretPath]
	if !sops.IsEncrypted(aks.SecretPath, secret) || !bytes.Contains(secret, []byte("name: sample-secret")) || bytes.Contains(secret, []byte("Clear text")) {
		t.Errorf("sealed:\n%s", secret)
	}
}
