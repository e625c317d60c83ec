package reconcile

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// manage calls Resource Manager as the developer.
func (a *azure) manage(method, path string, body any) {
	a.t.Helper()
	token, err := a.dev.GetToken(a.t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := json.Marshal(body)
	if err != nil {
		a.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(a.t.Context(), method, "https://management.azure.com"+path+"?api-version=2025-05-01", bytes.NewReader(raw))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.HTTP.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode >= 300 {
		a.t.Fatalf("%s %s: %d %s %v", method, path, resp.StatusCode, text, err)
	}
}

// keyOf finds the key that Entra ID publishes for a token.
func (a *azure) keyOf(t *jwt.Token) (any, error) {
	resp, err := a.HTTP.Get("https://login.microsoftonline.com/" + a.Env().TenantID + "/discovery/v2.0/keys")
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var set struct {
		Keys []struct{ Kid, N, E string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		return nil, err
	}
	for _, k := range set.Keys {
		n, errN := base64.RawURLEncoding.DecodeString(k.N)
		e, errE := base64.RawURLEncoding.DecodeString(k.E)
		if k.Kid == t.Header["kid"] && errN == nil && errE == nil {
			return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
		}
	}
	return nil, errors.New("no such key")
}

// aks stands for the API server of an AKS cluster: it takes Entra tokens for its application and one principal.
func (a *azure) aks(principal string) *httptest.Server {
	return guarded(a.t, func(token string) bool {
		claims := jwt.MapClaims{}
		_, err := jwt.ParseWithClaims(token, claims, a.keyOf,
			jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience("6dae42f8-4368-4678-94ff-3960e28e3630"))
		return err == nil && claims["oid"] == principal
	})
}

// guarded stands for an API server that takes certain tokens alone, and hands what they ask for to the test's own.
func guarded(t *testing.T, takes func(token string) bool) *httptest.Server {
	t.Helper()
	cfg := testkit.Cluster(t).Config
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(cfg.Host)
	if err != nil {
		t.Fatal(err)
	}
	behind := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Del("Authorization")
	}}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !takes(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
			http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401}`, http.StatusUnauthorized)
			return
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestTheAzureProviderSignsInToAKSAsTheNamedServiceAccount(t *testing.T) {
	w := newWorld(t)
	a := withAzure(t, w)
	who := a.account("deployer")
	api := a.aks(who.PrincipalID)
	a.SetClusterEndpoint(api.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}))
	id := "/subscriptions/" + a.Env().SubscriptionID + "/resourceGroups/" + azureGroup + "/providers/Microsoft.ContainerService/managedClusters/remote"
	put := func(properties map[string]any) {
		a.manage("PUT", id, map[string]any{"location": "westeurope", "properties": properties})
	}
	put(map[string]any{})
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "remote"}, Data: map[string]string{
		"provider": "azure", "cluster": id, "serviceAccountName": "deployer",
	}})
	w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.KubeConfig = &meta.KubeConfigReference{ConfigMapRef: &meta.LocalObjectReference{Name: "remote"}}
	})
	w.until(k, "False", "AuthorizationFailed") // no role yet
	a.manage("PUT", id+"/providers/Microsoft.Authorization/roleAssignments/6a4f6d5b-4a5d-4c1e-9f0a-2f6a7a3a1c11", map[string]any{"properties": map[string]string{
		"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/4abbcc35-e782-43d8-92c5-2d3f1bd2253f", "principalId": who.PrincipalID,
	}})
	w.poke(k)
	w.until(k, "False", "--enable-aad")
	put(map[string]any{"aadProfile": map[string]any{"managed": true}})
	w.poke(k)
	w.until(k, "True", "Applied")
	if _, err := w.configMap("one"); err != nil {
		t.Error(err)
	}
	before := a.Requests()["arm/list-cluster-user-credential"]
	w.until(k, "True", w.push(map[string]string{"a/one.yaml": configMap("one", "2")}))
	if again := a.Requests()["arm/list-cluster-user-credential"]; again != before {
		t.Errorf("Resource Manager was asked %d times more", again-before)
	}

	own, err := identity.New(identity.Config{
		ClientID: who.ClientID, TenantID: who.TenantID, Client: azcore.ClientOptions{Transport: a.HTTP},
		Assertion: func(ctx context.Context) (string, error) {
			token, _, err := requestToken(ctx, w.client, types.NamespacedName{Namespace: w.namespace, Name: "deployer"}, []string{azureAudience})
			if err != nil {
				return "", err
			}
			return a.issuer.Resign(token)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	controller := &Kustomizations{appliers: &appliers{}, Options: Options{azure: a.HTTP}, workload: workload{credential: own}}
	for address, want := range map[string]string{"https://evil.example": "AKS gives no kubeconfig", "http://evil.example": "AKS gives no kubeconfig", api.URL: ""} {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{UID: types.UID(address)}, Data: map[string]string{"cluster": id, "address": address, "ca.crt": "ca"}}
		switch _, err := controller.aksCluster(t.Context(), cm, ""); {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("the controller's own token to %s: %v", address, err)
		}
	}
}

func TestAddressesOfOneServerAreTheSame(t *testing.T) {
	for b, want := range map[string]bool{
		"https://A.hcp.example:443": true, "a.hcp.example": true, "https://a.hcp.example/": true, "https://a.hcp.example:6443": false, "https://b.hcp.example": false,
	} {
		if got := sameHost("https://a.hcp.example", b); got != want {
			t.Errorf("%s: %v", b, got)
		}
	}
}
