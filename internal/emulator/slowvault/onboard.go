package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator"
)

type object = map[string]any

// onboard makes, through the REST APIs, an identity that the cluster's ServiceAccount is federated with, a vault and its
// key, and signs the ServiceAccount's token.
func onboard(e *emulator.Emulator, dir string) (*State, error) {
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	env := e.Env()
	e.SetIssuerBackend(func(_ context.Context, path string) ([]byte, error) { return documents(env.IssuerURL, signer, path) })
	c, err := newManager(e)
	if err != nil {
		return nil, err
	}
	const group = "/resourcegroups/bench"
	const identity = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/kustomize-controller"
	const vault = group + "/providers/Microsoft.KeyVault/vaults/bench-vault"
	const subject, audience = "system:serviceaccount:flux-system:kustomize-controller", "api://AzureADTokenExchange"
	c.put(group, object{"location": "westeurope"})
	id := c.put(identity, object{"location": "westeurope"})
	c.put(identity+"/federatedIdentityCredentials/cluster", object{"properties": object{"issuer": env.IssuerURL, "subject": subject, "audiences": []string{audience}}})
	policy := func(who any, verbs ...string) object {
		return object{"tenantId": env.TenantID, "objectId": who, "permissions": object{"keys": verbs}}
	}
	c.put(vault, object{"location": "westeurope", "properties": object{
		"tenantId": env.TenantID, "sku": object{"family": "A", "name": "standard"}, "enableRbacAuthorization": false,
		"accessPolicies": []any{policy(env.DeveloperObjectID, "all"), policy(property(id, "principalId"), "get", "decrypt")},
	}})
	key := c.put(vault+"/keys/sops", object{"properties": object{"kty": "RSA", "keySize": 2048}})
	if c.err != nil {
		return nil, c.err
	}
	now := time.Now()
	token, err := sign(signer, object{"iss": env.IssuerURL, "sub": subject, "aud": []string{audience}, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(24 * time.Hour).Unix()})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "workload-token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		return nil, err
	}
	network := []string{"HTTPS_PROXY=http://" + e.Addr(), "NO_PROXY=127.0.0.1,localhost", "SSL_CERT_FILE=" + e.CAFile(), "AZURE_TENANT_ID=" + env.TenantID}
	return &State{
		Key:       fmt.Sprint(property(key, "keyUriWithVersion")),
		Developer: append(network[:4:4], "AZURE_CLIENT_ID="+env.DeveloperClientID, "AZURE_CLIENT_SECRET="+env.DeveloperSecret),
		Workload: append(network[:4:4], "AZURE_CLIENT_ID="+fmt.Sprint(property(id, "clientId")), "AZURE_FEDERATED_TOKEN_FILE="+file,
			"AZURE_AUTHORITY_HOST=https://login.microsoftonline.com/"),
	}, nil
}

// manager calls Resource Manager as the developer, until the first error.
type manager struct {
	http  *http.Client
	base  string
	token string
	err   error
}

func newManager(e *emulator.Emulator) (*manager, error) {
	client, err := e.Client()
	if err != nil {
		return nil, err
	}
	env := e.Env()
	m := &manager{base: "https://management.azure.com/subscriptions/" + env.SubscriptionID, http: client}
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"https://management.azure.com/.default"},
		"client_id": {env.DeveloperClientID}, "client_secret": {env.DeveloperSecret}}
	r, err := http.NewRequest(http.MethodPost, "https://login.microsoftonline.com/"+env.TenantID+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	m.token, _ = m.do(r)["access_token"].(string)
	return m, m.err
}

func (m *manager) put(path string, body object) object {
	data, err := json.Marshal(body)
	if err != nil || m.err != nil {
		return nil
	}
	r, err := http.NewRequest(http.MethodPut, m.base+path+"?api-version=2024-11-01", bytes.NewReader(data))
	if err != nil {
		m.err = err
		return nil
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+m.token)
	return m.do(r)
}

func (m *manager) do(r *http.Request) (reply object) {
	res, err := m.http.Do(r)
	if err != nil {
		m.err = err
		return nil
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s", r.Method, r.URL.Path, res.Status)
	}
	if err == nil {
		err = json.Unmarshal(data, &reply)
	}
	m.err = err
	return reply
}

func property(o object, name string) any {
	p, _ := o["properties"].(object)
	return p[name]
}

var b64 = base64.RawURLEncoding.EncodeToString

// documents are what the cluster's issuer publishes.
func documents(issuer string, signer *rsa.PrivateKey, path string) ([]byte, error) {
	if strings.HasSuffix(path, "openid-configuration") {
		return json.Marshal(object{"issuer": issuer, "jwks_uri": issuer + "openid/v1/jwks"})
	}
	return json.Marshal(object{"keys": []any{object{"use": "sig", "kty": "RSA", "kid": "k1", "alg": "RS256",
		"n": b64(signer.N.Bytes()), "e": b64(big.NewInt(int64(signer.E)).Bytes())}}})
}

func sign(signer *rsa.PrivateKey, claims object) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := b64([]byte(`{"alg":"RS256","kid":"k1"}`)) + "." + b64(payload)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, signer, crypto.SHA256, digest[:])
	return text + "." + b64(signature), err
}
