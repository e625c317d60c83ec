package identity

import (
	"fmt"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// OtherCloud tells that tokens for a vault of one cloud are asked for at the Entra ID of another, which knows neither
// tenant nor vault: nothing need be sent to learn that. It is nil where the clouds agree, or one of them is unknown.
func OtherCloud(cfg Config, scopes ...string) *fault.Fault {
	own, known := cloud.OfAuthority(cfg.AuthorityHost)
	if !known {
		return nil
	}
	for _, scope := range scopes {
		if asked, ok := cloud.OfVault(scope); ok && asked.Name != own.Name {
			return elsewhere(cfg, own, asked)
		}
	}
	return nil
}

func elsewhere(cfg Config, own, asked cloud.Cloud) *fault.Fault {
	has := envAuthority + " is " + cfg.AuthorityHost
	if cfg.AuthorityHost == "" {
		has = envAuthority + " is not set"
	}
	return &fault.Fault{
		Code: "SLU-IDENTITY-005", Hop: fault.HopIdentity, Object: "client " + cfg.ClientID,
		Seen: fmt.Sprintf("%s, which means %s; the vault is in %s", has, own.Name, asked.Name),
		Why:  "the Entra ID of one cloud gives no tokens for the vaults of another",
		Fix:  "kubectl set env -n flux-system deployment/kustomize-controller " + envAuthority + "=" + asked.Authority,
	}
}

// cloud is where the refused party signs in; the zero value where its authority is nobody's.
func (p party) cloud() cloud.Cloud {
	c, _ := cloud.OfAuthority(p.authority)
	return c
}
