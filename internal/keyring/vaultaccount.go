package keyring

import (
	"context"
	"os"

	"github.com/sluice-gitops/sluice/internal/kms/transit"
)

// VaultByAccount signs in to Vault or OpenBao as a Kubernetes ServiceAccount. paths are the login paths by address, and
// the list of servers that the account's token may be shown to; source names that list in faults. token is the account's
// token for an audience, with its namespace and name.
func VaultByAccount(source string, paths func(context.Context) (map[string]string, error),
	token func(ctx context.Context, audience string) (token, namespace, name string, err error)) *VaultToken {
	return &VaultToken{signIn: &transit.SignIn{Source: source, Paths: paths, Token: token}, env: os.Getenv}
}

// renew forgets what was signed in for.
func (v *VaultToken) renew() {
	if v.signIn != nil {
		v.signIn.Renew()
	}
}
