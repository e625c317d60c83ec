package keyring

import (
	"context"
	"regexp"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// defaultAzure is the sign-in that sops uses on a workstation: environment, workload identity, managed identity, the az
// and azd commands, whichever is there. It is made when a Key Vault is first asked.
type defaultAzure struct {
	once sync.Once
	cred azcore.TokenCredential
	err  error
}

// GetToken implements azcore.TokenCredential. Its errors are faults of hop "entra", or the context's.
func (d *defaultAzure) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	d.once.Do(func() { d.cred, d.err = azidentity.NewDefaultAzureCredential(nil) })
	if d.err != nil {
		return azcore.AccessToken{}, noSignIn(d.err)
	}
	token, err := d.cred.GetToken(ctx, o)
	if err != nil {
		if ctx.Err() != nil {
			return azcore.AccessToken{}, ctx.Err()
		}
		return azcore.AccessToken{}, noSignIn(err)
	}
	return token, nil
}

var entraCode = regexp.MustCompile(`AADSTS\d{4,7}`)

// noSignIn names what was tried. The SDK's own text is a page long and repeats whole replies.
func noSignIn(err error) *fault.Fault {
	f := &fault.Fault{
		Code: "SLU-ENTRA-020", Hop: fault.HopEntra, Object: "the person at the keyboard",
		Seen: "no way of signing in to Azure worked",
		Why:  "neither the environment (AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET), nor a managed identity, nor the az command gave a token",
		Fix:  "az login",
	}
	if code := entraCode.FindString(err.Error()); code != "" {
		f.Seen = "Entra ID refused the sign-in: " + code
		f.Why = "https://login.microsoftonline.com/error?code=" + strings.TrimPrefix(code, "AADSTS") + " says what it means"
	}
	return f
}
