package arm

import (
	"context"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
)

// MostFederations is how many federated credentials an identity can have.
const MostFederations = 20

// Federation says whose tokens an identity accepts. Entra ID compares all three byte by byte.
type Federation struct {
	Name     string `json:"name"`     // of the credential; 3 to 120 letters, digits, - and _
	Issuer   string `json:"issuer"`   // the cluster's, with its trailing slash
	Subject  string `json:"subject"`  // system:serviceaccount:<namespace>:<name>
	Audience string `json:"audience"` // api://AzureADTokenExchange
}

// Same says whether f and other accept the same tokens, whatever they are called.
func (f Federation) Same(other Federation) bool {
	return f.Issuer == other.Issuer && f.Subject == other.Subject && f.Audience == other.Audience
}

// Federations lists an identity's federated credentials.
func (c *Client) Federations(ctx context.Context, group, identity string) ([]Federation, error) {
	var all []Federation
	for pager := c.federations.NewListPager(group, identity, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, explain(err, "federated credentials of identity "+identity)
		}
		for _, f := range page.Value {
			if f == nil {
				continue
			}
			p := deref(f.Properties)
			have := Federation{Name: deref(f.Name), Issuer: deref(p.Issuer), Subject: deref(p.Subject)}
			for _, a := range p.Audiences {
				have.Audience = strings.TrimPrefix(have.Audience+","+deref(a), ",")
			}
			all = append(all, have)
		}
	}
	return all, nil
}

// EnsureFederatedCredential makes an identity accept the tokens that f describes. A credential of another name that
// says the same satisfies it, because Azure allows each pair of issuer and subject only once; one of f's name that says
// something else is overwritten. While somebody else writes to the same identity, it waits its turn.
func (c *Client) EnsureFederatedCredential(ctx context.Context, group, identity string, f Federation) (changed bool, err error) {
	object := "federated credential " + f.Name + " of identity " + identity
	err = patiently(ctx, func() error {
		have, err := c.Federations(ctx, group, identity)
		if err != nil {
			return err
		}
		differs := false
		for _, h := range have {
			if f.Same(h) {
				return nil
			}
			differs = differs || h.Name == f.Name
		}
		created, err := made(ctx, func(ctx context.Context) error {
			_, err := c.federations.CreateOrUpdate(ctx, group, identity, f.Name, armmsi.FederatedIdentityCredential{
				Properties: &armmsi.FederatedIdentityCredentialProperties{Issuer: &f.Issuer, Subject: &f.Subject, Audiences: []*string{&f.Audience}},
			}, nil)
			return err
		})
		changed = created || differs && err == nil
		return err
	}, "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity")
	return changed, explain(err, object)
}
