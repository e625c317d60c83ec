package keyring

import (
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
)

// azureCertificate is the part of a Secret's entry sops.azure-kv by which a service principal signs in with a certificate,
// in Flux's naming.
type azureCertificate struct {
	ClientCertificate          string `json:"clientCertificate"` // PEM; PKCS #12 would not survive as text
	ClientCertificatePassword  string `json:"clientCertificatePassword"`
	ClientCertificateSendChain bool   `json:"clientCertificateSendChain"`
}

func (c azureCertificate) credential(tenant, app, authority string, o azcore.ClientOptions) (azcore.TokenCredential, error) {
	p := identity.CertificatePrincipal{Tenant: tenant, Client: app, Certificate: []byte(c.ClientCertificate), SendChain: c.ClientCertificateSendChain, Authority: authority}
	if c.ClientCertificatePassword != "" {
		p.Password = []byte(c.ClientCertificatePassword)
	}
	return identity.NewCertificatePrincipal(p, o)
}
