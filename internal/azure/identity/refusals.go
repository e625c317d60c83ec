package identity

import (
	"fmt"
	"strings"
	"time"
)

// refusal texts: what an AADSTS code means for a federated exchange, and what mends it.
type explanation struct {
	number   string // of the fault's code
	why, fix func(party) string
}

// Codes from Microsoft's reference (entra-docs, reference-error-codes.md), the workload identity project's
// troubleshooting guide and live reports; Microsoft warns that they may change, so an unknown code keeps its own words.
var refusals = map[int]explanation{
	700211: {"002", func(p party) string {
		return "no federated credential of the identity has the issuer " + p.claims.Issuer + " (a trailing slash counts)"
	}, createCredential},
	700212: {"003", func(p party) string {
		return "no federated credential of the identity has the audience " + p.claims.audience()
	}, createCredential},
	700213: {"004", func(p party) string {
		return "no federated credential of the identity has the subject " + p.claims.Subject
	}, createCredential},
	7002138: {"005", func(p party) string {
		return "a federated credential has the subject " + p.claims.Subject + " in other letter case, and case counts"
	}, createCredential},
	70021: {"006", func(p party) string {
		return fmt.Sprintf("no federated credential matches issuer %s, subject %s and audience %s, or one made seconds ago has not reached every region yet",
			p.claims.Issuer, p.claims.Subject, p.claims.audience())
	}, createCredential},
	70025: {"007", func(p party) string {
		return "the identity has no federated credential at all"
	}, createCredential},
	700016: {"008", func(p party) string {
		return fmt.Sprintf("no application with the client id %s exists in tenant %s: the ServiceAccount's annotation names another tenant's identity, a deleted one, or an object or resource id instead of the client id", p.client, p.tenant)
	}, fixClientID},
	700024: {"009", func(p party) string {
		if p.account != (Account{}) && p.now.Before(p.claims.Expiry) {
			return "the token was made for this exchange and lies outside its time range already: the API server's clock is off"
		}
		if !p.claims.Expiry.IsZero() && p.now.After(p.claims.Expiry) {
			return "the service-account token expired at " + p.claims.Expiry.Format(time.RFC3339)
		}
		return "the service-account token lies outside its time range: a clock is off, or the kubelet does not rotate the token"
	}, fixRestart},
	7000272: {"010", func(p party) string {
		return "the token was signed with a key that the issuer " + p.claims.Issuer + " does not publish: the cluster's signing keys were rotated or the issuer serves old ones"
	}, fixKeys},
	50027: {"011", func(p party) string {
		return "the token is malformed or its signature does not verify against the keys of " + p.claims.Issuer
	}, fixKeys},
	50166:  {"012", issuerUnreachable, fixIssuer},
	90061:  {"013", issuerUnreachable, fixIssuer},
	501661: {"014", issuerUnreachable, fixIssuer},
	500011: {"015", func(p party) string {
		return "the vault's resource has no service principal in tenant " + p.tenant + ": the vault belongs to another cloud or tenant"
	}, func(p party) string {
		return "az keyvault list --query \"[].{name:name,tenant:properties.tenantId}\" -o table"
	}},
	90002: {"016", func(p party) string {
		return "the tenant " + p.tenant + " does not exist in this cloud"
	}, func(p party) string {
		return annotate(p, "tenant-id", "$(az account show --query tenantId -o tsv)")
	}},
	7000215: {"017", func(p party) string {
		return "the client secret is not one of the application's"
	}, func(p party) string {
		return "az ad app credential reset --id " + p.client
	}},
	7000222: {"018", func(p party) string {
		return "the application's client secrets have expired"
	}, func(p party) string {
		return "az ad app credential reset --id " + p.client
	}},
}

// createCredential is the one command for everything that does not match: creating a federated credential under a name
// that exists replaces it. The identity's name and group are looked up by the client id, the one thing known here.
func createCredential(p party) string {
	ns, sa := p.claims.serviceAccount()
	name := strings.Trim(ns+"-"+sa, "-")
	if name == "" {
		name = "sluice"
	}
	return fmt.Sprintf(`set -- $(az identity list --query "[?clientId=='%s'].[name,resourceGroup]" -o tsv) && `+
		`az identity federated-credential create --identity-name "$1" -g "$2" -n %s --issuer %s --subject %s --audiences %s`,
		p.client, name, p.claims.Issuer, p.claims.Subject, p.claims.audience())
}

func fixClientID(p party) string {
	if !p.federated {
		return "az ad sp list --all --query \"[?appId=='" + p.client + "']\" -o table"
	}
	return annotate(p, "client-id", "$(az identity show -g <group> -n <identity> --query clientId -o tsv)")
}

func annotate(p party, key, value string) string {
	ns, sa := p.serviceAccount()
	return fmt.Sprintf("kubectl annotate serviceaccount -n %s %s --overwrite azure.workload.identity/%s=%s", ns, sa, key, value)
}

// serviceAccount is whose token was refused, the controller's where nothing says.
func (p party) serviceAccount() (namespace, name string) {
	if p.account != (Account{}) {
		return p.account.Namespace, p.account.Name
	}
	if namespace, name = p.claims.serviceAccount(); name == "" {
		return "flux-system", "kustomize-controller"
	}
	return namespace, name
}

// fixRestart gives a pod a new token. One by TokenRequest is new already, so there only the clocks are left.
func fixRestart(p party) string {
	if p.account != (Account{}) {
		return fmt.Sprintf("compare the clocks: date -u; kubectl create token -n %s %s --audience %s | cut -d. -f2 | base64 -d",
			p.account.Namespace, p.account.Name, p.claims.audience())
	}
	ns, sa := p.serviceAccount()
	return fmt.Sprintf("kubectl rollout restart -n %s deployment/%s", ns, sa)
}

// fixKeys gives a pod a token of the newest key. One by TokenRequest is of that key, so it is the issuer that lags.
func fixKeys(p party) string {
	if p.account != (Account{}) {
		return fmt.Sprintf("compare the keys that sign with those that are published, and wait until they agree: "+
			"kubectl get --raw /openid/v1/jwks; curl -sS %s/openid/v1/jwks", strings.TrimRight(p.claims.Issuer, "/"))
	}
	return fixRestart(p)
}

func issuerUnreachable(p party) string {
	return "Entra ID cannot fetch the discovery document or the keys of the issuer " + p.claims.Issuer
}

func fixIssuer(party) string {
	return "az aks update -g <group> -n <cluster> --enable-oidc-issuer"
}
