package doctor

import (
	"fmt"
	"strings"
	"testing"
)

// covered maps every code and every hop that Azure's protocol has for a broken chain to the breakage that shows it: the
// AADSTS codes of a token exchange, Key Vault's codes for what a decryption meets, and what can be wrong at each step from
// cluster to key. A row is named by the beginning of its name.
var covered = map[string]string{
	// Entra ID's refusals of a token exchange.
	"AADSTS700211": "AADSTS700211: the issuer lacks", "AADSTS700212": "AADSTS700212: the credential's audience", "AADSTS700213": "AADSTS700213: the credential's namespace",
	"AADSTS7002138": "AADSTS7002138:", "AADSTS70021": "AADSTS70021:", "AADSTS70025": "AADSTS70025:", "AADSTS700016": "AADSTS700016:",
	"AADSTS700024": "AADSTS700024: the token has expired", "AADSTS7000272": "AADSTS7000272: the token's key", "AADSTS50027": "AADSTS50027:",
	"AADSTS50166": "AADSTS50166:", "AADSTS90061": "AADSTS90061:", "AADSTS501661": "AADSTS501661:", "AADSTS500011": "AADSTS500011:", "AADSTS90002": "AADSTS90002:",
	// Key Vault's answers.
	"Unauthorized": "Unauthorized:", "AKV10022": "AKV10022:", "AKV10032": "AKV10032:", "ForbiddenByPolicy": "ForbiddenByPolicy: the policy lacks", "ForbiddenByRbac": "ForbiddenByRbac: the identity has no role",
	"ForbiddenByFirewall": "ForbiddenByFirewall:", "KeyOperationForbidden": "KeyOperationForbidden:", "KeyDisabled": "KeyDisabled:", "KeyNotFound": "KeyNotFound:",
	"ObjectIsDeletedButRecoverable": "ObjectIsDeletedButRecoverable:", "Throttled": "Throttled:",
	// Step by step.
	"the cluster's OIDC issuer is off": "the OIDC issuer is off", "workload identity is off": "workload identity is off on the cluster",
	"discovery is unreachable": "AADSTS501661:", "the signing key is stale": "AADSTS7000272: the token's key",
	"the token's audience": "the token is for another audience", "the token's issuer": "AADSTS700211: the cluster was made anew",
	"label on the ServiceAccount": "the label is on the ServiceAccount", "no label": "the pod template lacks the label",
	"wrong client id": "the annotation holds the principal id", "wrong tenant": "the tenant is another",
	"trailing slash": "AADSTS700211: the issuer lacks", "namespace": "AADSTS700213: the credential's namespace", "letter case": "AADSTS7002138:", "recreated cluster": "AADSTS700211: the cluster was made anew",
	"no credential": "AADSTS70025:", "just created": "AADSTS70021:",
	"the challenge's tenant": "the vault's tenant is another", "policy of the client id": "ForbiddenByPolicy: the policy names the client id",
	"assignments at the vault": "ForbiddenByRbac: the role gives reading alone", "network rules": "ForbiddenByFirewall:",
	"the key's version is gone": "KeyNotFound:", "the key is disabled": "KeyDisabled:", "trial decrypt": "KeyOperationForbidden:",
	// The sovereign clouds.
	"authority of another cloud": "Azure Government: AZURE_AUTHORITY_HOST", "audience of another cloud": "AADSTS700212 in Azure Government",
}

func TestEveryCodeOfAzuresProtocolHasABreakage(t *testing.T) {
	for what, row := range covered {
		n := 0
		for _, b := range breakages {
			if strings.HasPrefix(b.name, row) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s: %d breakages begin with %q", what, n, row)
		}
	}
	// No AADSTS code that the judges blame a hop for goes untested.
	for code := range blamedByCode {
		if _, ok := covered[fmt.Sprintf("AADSTS%d", code)]; !ok {
			t.Errorf("no breakage shows AADSTS%d", code)
		}
	}
}
