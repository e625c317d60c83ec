package identity

import (
	"errors"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// CertificatePrincipal is a service principal that signs in with a certificate instead of a secret.
type CertificatePrincipal struct {
	Tenant, Client string
	Certificate    []byte // certificate and private key, PEM or PKCS #12
	Password       []byte // of the PKCS #12; nil: none. Encrypted PEM keys cannot be read
	SendChain      bool   // shows the whole chain, for applications that trust a subject name and its issuer
	Authority      string // empty: the public cloud's
}

// NewCertificatePrincipal returns the credential of p. Its errors are safe to show, and those of the credential are faults
// of hop "entra"; neither holds any of the certificate or the password.
func NewCertificatePrincipal(p CertificatePrincipal, o azcore.ClientOptions) (azcore.TokenCredential, error) {
	if p.Tenant == "" || p.Client == "" {
		return nil, errors.New("a service principal needs a tenant id and a client id")
	}
	certs, key, err := azidentity.ParseCertificates(p.Certificate, p.Password)
	if err != nil { // the parser's words may quote what it read
		return nil, errors.New("clientCertificate is not a certificate with its private key, PEM or PKCS #12, that clientCertificatePassword opens")
	}
	cred, err := azidentity.NewClientCertificateCredential(p.Tenant, p.Client, certs, key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: clientOptions(o, p.Authority), SendCertificateChain: p.SendChain})
	if err != nil {
		return nil, misconfigured(Config{ClientID: p.Client, TenantID: p.Tenant, AuthorityHost: p.Authority}, err)
	}
	return &principal{cred, p.Tenant, p.Client, p.Authority}, nil
}
