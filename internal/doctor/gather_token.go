package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/sops"
)

const (
	tokenLife = int64(600) // seconds, the least that the API server gives
	// largestDocument bounds what a server that the doctor asks may answer.
	largestDocument = 1 << 20
)

// gatherToken gets a token of the account: inside of the cluster the pod's own from its file, elsewhere one by
// TokenRequest. It is kept for the exchange alone; the facts hold its claims.
func gatherToken(ctx context.Context, o Options, f *Facts) {
	if f.ServiceAcc == nil {
		return
	}
	assertion := func(ctx context.Context) (string, error) { return requestToken(ctx, o, f) }
	if o.Pod != nil && !f.PerObject && o.Pod.TokenFile != "" {
		assertion = identity.FromFile(o.Pod.TokenFile)
	}
	token, err := assertion(ctx)
	if err == nil {
		f.tokenText = true
		f.Token.Claims, err = identity.ParseClaims(token)
	}
	if f.Token.Err = err; err != nil {
		return
	}
	f.Token.Got = true
	gatherIssuer(ctx, o, f)
	if f.ClientID == "" || f.TenantID == "" {
		return
	}
	cfg := f.signIn()
	cfg.Client, cfg.Assertion = o.AzureOptions, func(context.Context) (string, error) { return token, nil }
	w, err := identity.New(cfg)
	f.Exchanged = true
	if err != nil {
		f.Exchange = err
		return
	}
	_, f.Exchange = w.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{f.Cloud.VaultScope()}})
	f.workload = w
}

// signIn is who the controller signs in as, for the texts of faults and for the exchange.
func (f *Facts) signIn() identity.Config {
	cfg := identity.Config{ClientID: f.ClientID, TenantID: f.TenantID, AuthorityHost: f.Authority}
	if f.PerObject {
		cfg.Account = identity.Account(f.Account)
	}
	return cfg
}

// audience is what the token is asked for: as the pod's own is projected, else as AKS and Flux ask everywhere.
func (f *Facts) audience() string {
	if f.Pod.Projected && f.exchanges(f.Pod.Audience) {
		return f.Pod.Audience
	}
	return cloud.TokenExchange
}

// exchanges says whether Entra ID of the chain's cloud takes tokens for audience.
func (f *Facts) exchanges(audience string) bool {
	return slices.Contains(f.Cloud.Audiences(), audience)
}

// presented is the audience of the token that a federated credential must have.
func (f *Facts) presented() string {
	if i := slices.IndexFunc(f.Token.Claims.Audience, f.exchanges); i >= 0 {
		return f.Token.Claims.Audience[i]
	}
	return f.audience()
}

func requestToken(ctx context.Context, o Options, f *Facts) (string, error) {
	life := tokenLife
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: f.Account.Namespace, Name: f.Account.Name}}
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{f.audience()}, ExpirationSeconds: &life}}
	if err := o.Client.SubResource("token").Create(ctx, sa, req); err != nil {
		return "", err
	}
	return req.Status.Token, nil
}

// gatherIssuer reads what the token's issuer publishes, as Entra ID will.
func gatherIssuer(ctx context.Context, o Options, f *Facts) {
	iss := f.Token.Claims.Issuer
	if !strings.HasPrefix(iss, "https://") {
		return
	}
	i := &f.Token.Issuer
	i.Looked = true
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if i.Err = publicJSON(ctx, o, strings.TrimSuffix(iss, "/")+"/.well-known/openid-configuration", &discovery); i.Err != nil {
		return
	}
	i.Issuer = discovery.Issuer
	var set struct {
		Keys []struct {
			Kid string `json:"kid"`
		} `json:"keys"`
	}
	if i.Err = publicJSON(ctx, o, discovery.Keys, &set); i.Err != nil {
		return
	}
	for _, k := range set.Keys {
		i.KeyIDs = append(i.KeyIDs, k.Kid)
	}
}

// publicJSON gets a public JSON document over https.
func publicJSON(ctx context.Context, o Options, address string, out any) error {
	if !strings.HasPrefix(address, "https://") {
		return fmt.Errorf("%q is no https URL", address)
	}
	res, err := get(ctx, o, address)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: HTTP %d", address, res.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, largestDocument))
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	if json.Unmarshal(data, out) != nil {
		return fmt.Errorf("%s does not hold JSON", address)
	}
	return nil
}

// get sends one request without any credential.
func get(ctx context.Context, o Options, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if t := o.AzureOptions.Transport; t != nil {
		return t.Do(req)
	}
	return http.DefaultClient.Do(req)
}

// gatherTrial opens every document as the controller would, with the identity that the exchange proved and with the keys
// of the Secret that spec.decryption names. What it opens is dropped at once.
func gatherTrial(ctx context.Context, o Options, f *Facts) {
	id := keyring.Identity{Name: "doctor"}
	if ref := decryptionSecret(f.Kustomization); ref != nil {
		var secret corev1.Secret
		if err := o.Client.Get(ctx, namespaced(f.Object.Namespace, ref.Name), &secret); err != nil {
			f.SecretErr = err
		} else if id, err = keyring.FromSecret("doctor", secret.Data); err != nil {
			f.SecretErr = err
			id = keyring.Identity{Name: "doctor"}
		}
	}
	if f.workload != nil && f.Exchange == nil && id.Azure == nil {
		id.Azure = azcore.TokenCredential(f.workload)
	}
	ring := keyring.New(keyring.Options{Transport: o.AzureOptions.Transport, Retry: o.AzureOptions.Retry}).For(id)
	for i := range f.Documents {
		d := &f.Documents[i]
		if d.Err != nil || (len(d.Keys) > 0 && id.Azure == nil && len(d.Keys) == len(d.Recipients)) || (f.SecretErr != nil && id.Azure == nil) {
			continue
		}
		d.Tried = true
		plain, err := sops.Open(ctx, ring, d.Path, d.data, sops.FormatFor(d.Path), sops.Enforce)
		clear(plain)
		d.OpenErr = err
	}
}
