package keyring

import (
	"net/http"

	"golang.org/x/oauth2"

	"github.com/sluice-gitops/sluice/internal/kms"
	"github.com/sluice-gitops/sluice/internal/kms/aws"
	"github.com/sluice-gitops/sluice/internal/kms/gcp"
	"github.com/sluice-gitops/sluice/internal/kms/transit"
)

// Clouds are an identity's ways to the key services beside Key Vault. Where one is nil, its error, if any, is what
// documents that need it fail with.
type Clouds struct {
	AWS       *aws.Credentials
	AWSErr    error
	Google    oauth2.TokenSource
	GoogleErr error
	Vault     *VaultToken
	VaultErr  error
}

// Services say where the key services beside Key Vault are reached. The zero value is where their operators run them.
type Services struct {
	AWSEndpoint    string
	GoogleEndpoint string
}

// FillFrom takes from c what the identity's own Secret did not bring, as Flux does: a key service that the Secret has an
// entry for is only ever asked with that.
func (id *Identity) FillFrom(c Clouds) {
	if id.AWS == nil {
		id.AWS, id.AWSErr = c.AWS, c.AWSErr
	}
	if id.Google == nil {
		id.Google, id.GoogleErr = c.Google, c.GoogleErr
	}
	if id.Vault == nil {
		id.Vault, id.VaultErr = c.Vault, c.VaultErr
	}
}

// Renew forgets sessions and tokens, so that the next document proves the sign-in. Data keys and connections are the
// Ring's to forget.
func (c Clouds) Renew() {
	if c.AWS != nil {
		c.AWS.Renew()
	}
	if r, ok := c.Google.(interface{ Renew() }); ok {
		r.Renew()
	}
	if c.Vault != nil {
		c.Vault.renew()
	}
}

// EnvironmentClouds returns the controller's own ways to the key services, as its environment describes them. Nothing is
// read or sent until a document needs one.
func EnvironmentClouds() Clouds {
	var c Clouds
	c.AWS, c.AWSErr = aws.FromEnvironment()
	c.Google, c.GoogleErr = gcp.FromEnvironment()
	c.Vault, c.VaultErr = environmentVault()
	return c
}

// clients are an identity's connections, one for each service, made with its first document.
type clients struct {
	aws     *aws.Client
	google  *gcp.Client
	transit *transit.Client
}

func (r *Ring) newClients(id Identity) clients {
	var c clients
	if id.AWS != nil {
		o := aws.Options{Endpoint: r.opts.Services.AWSEndpoint}
		if r.opts.RoundTripper != nil { // the SDK tries again by itself
			o.HTTP = &http.Client{Transport: r.opts.RoundTripper}
		}
		c.aws = aws.New(id.AWS, o)
	}
	if id.Google != nil {
		endpoint := r.opts.Services.GoogleEndpoint
		if endpoint == "" && id.station != nil {
			endpoint = id.station.opts.Env("SOPS_GCP_KMS_ENDPOINT")
		}
		c.google = gcp.New(id.Google, gcp.Options{HTTP: kms.NewHTTP(r.opts.RoundTripper), Endpoint: endpoint})
	}
	if id.Vault != nil {
		c.transit = id.Vault.client(r.opts.RoundTripper)
	}
	return c
}
