package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// ForServicePrincipal returns the credential of a service principal with a client secret: the developer at the
// keyboard. transport may be nil. Its errors are faults of hop "entra".
func ForServicePrincipal(tenant, client, secret string, transport policy.Transporter) (azcore.TokenCredential, error) {
	return NewServicePrincipal(tenant, client, secret, "", azcore.ClientOptions{Transport: transport})
}

type principal struct {
	cred                      azcore.TokenCredential
	tenant, client, authority string
}

// NewServicePrincipal is ForServicePrincipal with an authority host (empty: the public cloud's) and client options.
func NewServicePrincipal(tenant, client, secret, authority string, o azcore.ClientOptions) (azcore.TokenCredential, error) {
	if tenant == "" || client == "" || secret == "" {
		return nil, errors.New("a service principal needs a tenant id, a client id and a client secret")
	}
	cred, err := azidentity.NewClientSecretCredential(tenant, client, secret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: clientOptions(o, authority)})
	if err != nil {
		return nil, misconfigured(Config{ClientID: client, TenantID: tenant, AuthorityHost: authority}, err)
	}
	return &principal{cred, tenant, client, authority}, nil
}

// GetToken implements azcore.TokenCredential.
func (p *principal) GetToken(ctx context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	opts.TenantID = alignTenant(p.tenant, opts.TenantID)
	token, err := p.cred.GetToken(ctx, opts)
	if err == nil {
		return token, nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return azcore.AccessToken{}, fmt.Errorf("sign-in: %w", ctxErr)
	}
	return azcore.AccessToken{}, exchangeFault(err, party{client: p.client, tenant: p.tenant, authority: p.authority, asked: opts.TenantID})
}
