package doctor

import (
	"fmt"
	"strings"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// mostFederations is what Azure lets one identity have.
const mostFederations = 20

func judgeFederation(f *Facts) verdict {
	const expected = "a federated credential equal to the token, byte by byte"
	switch {
	case !f.usesAzure():
		return skipped(noFileOverAzure)
	case f.NoNetwork:
		return unseen("the network (--no-network)")
	}
	id := f.Azure.identityOf(f.ClientID)
	readable := id != nil && f.Azure.FedErr == nil
	if name := f.matching(); name != "" && readable && f.Token.Got {
		return fine("credential " + name + " of " + id.Name + " says the same as the token")
	}
	if f.Exchanged && f.Exchange == nil {
		return fine("Entra ID took the token")
	}
	if !readable || !f.Token.Got {
		if fa := f.exchangeFault("federated credential"); fa != nil {
			return broken(fa, expected, nil)
		}
		if !f.Token.Got {
			return unseen("a token to compare with (see token)")
		}
		return f.needsAzure(orElse(f.Azure.Err, f.Azure.FedErr))
	}
	return f.mismatch(id, expected)
}

func orElse(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// matching names the credential that is equal to the token.
func (f *Facts) matching() string {
	c := f.Token.Claims
	for _, fc := range f.Azure.Federations {
		if fc.Issuer == c.Issuer && fc.Subject == c.Subject && len(fc.Audiences) == 1 && has(c.Audience, fc.Audiences[0]) {
			return fc.Name
		}
	}
	return ""
}

// mismatch says which credential comes nearest and where it differs, under the code that Entra ID would give.
func (f *Facts) mismatch(id *Identity, expected string) verdict {
	c := f.Token.Claims
	if len(f.Azure.Federations) == 0 {
		fa := identity.Foresee(70025, "identity "+id.Name+" has no federated credential", f.signIn(), c)
		return f.federate(fa, id, nil, expected)
	}
	best, bestScore := f.Azure.Federations[0], -1
	for _, fc := range f.Azure.Federations {
		if s := f.likeness(fc); s > bestScore {
			best, bestScore = fc, s
		}
	}
	code, parts := 0, []string{}
	audience := strings.Join(best.Audiences, ",")
	for _, p := range []struct {
		code             int
		what, have, want string
	}{
		{700211, "issuer", best.Issuer, c.Issuer}, {700212, "audience", audience, f.presented()}, {700213, "subject", best.Subject, c.Subject},
	} {
		d := difference(p.have, p.want)
		if d == "" {
			continue
		}
		if p.code == 700213 && d == "letter case" {
			p.code = 7002138
		}
		if code == 0 {
			code = p.code
		}
		parts = append(parts, fmt.Sprintf("%s %s, the token %s (%s)", p.what, p.have, p.want, d))
	}
	fa := identity.Foresee(code, "credential "+best.Name+" of identity "+id.Name+" has "+strings.Join(parts, "; "), f.signIn(), c)
	if slight(best, c) {
		return f.federate(fa, id, &best, expected)
	}
	return f.federate(fa, id, nil, expected)
}

// likeness counts what a credential and a token have in common; equal parts count more than those that differ slightly.
func (f *Facts) likeness(fc Federation) int {
	c := f.Token.Claims
	score := 0
	for _, p := range [][2]string{{fc.Issuer, c.Issuer}, {fc.Subject, c.Subject}} {
		switch difference(p[0], p[1]) {
		case "":
			score += 4
		case "a trailing slash", "letter case", "white space":
			score += 3
		case "the namespace", "the ServiceAccount's name":
			score++
		}
	}
	if len(fc.Audiences) == 1 && fc.Audiences[0] == f.presented() {
		score += 2
	}
	return score
}

// slight says that a credential is this account's, mistyped: it may be corrected in place. One that differs by more may
// be another workload's, and is left alone.
func slight(fc Federation, c identity.Claims) bool {
	for _, d := range []string{difference(fc.Issuer, c.Issuer), difference(fc.Subject, c.Subject)} {
		if d != "" && d != "a trailing slash" && d != "letter case" && d != "white space" {
			return false
		}
	}
	return true
}

// federate makes the identity trust the token: by correcting one credential, or by a new one beside the others.
func (f *Facts) federate(fa *fault.Fault, id *Identity, correct *Federation, expected string) verdict {
	c := f.Token.Claims
	verb, name := "update", ""
	if correct != nil {
		name = correct.Name
	} else {
		verb, name = "create", f.freeName()
		if len(f.Azure.Federations) >= mostFederations {
			fa.Why += fmt.Sprintf("; the identity has %d credentials, the most that Azure allows", len(f.Azure.Federations))
			fa.Fix = fmt.Sprintf("az identity federated-credential list -g %s --identity-name %s -o table, then delete one that nothing uses: az identity federated-credential delete -g %s --identity-name %s -n <name>", id.Group, id.Name, id.Group, id.Name)
			return broken(fa, expected, &Remedy{Commands: []string{fa.Fix}})
		}
	}
	fa.Fix = fmt.Sprintf("az identity federated-credential %s -g %s --identity-name %s -n %s --issuer %s --subject %s --audiences %s",
		verb, id.Group, id.Name, name, c.Issuer, c.Subject, f.presented())
	return broken(fa, expected, &Remedy{
		Commands: []string{fa.Fix}, Safe: true,
		Requests: []Request{{"PUT", f.management() + id.ID + "/federatedIdentityCredentials/" + name + "?api-version=" + identityVersion,
			map[string]any{"properties": map[string]any{"issuer": c.Issuer, "subject": c.Subject, "audiences": []string{f.presented()}}}}},
	})
}

// freeName is a name that no credential of the identity has.
func (f *Facts) freeName() string {
	base := f.Account.Namespace + "-" + f.Account.Name
	name := base
	for n := 2; ; n++ {
		taken := false
		for _, fc := range f.Azure.Federations {
			taken = taken || strings.EqualFold(fc.Name, name)
		}
		if !taken {
			return name
		}
		name = fmt.Sprintf("%s-%d", base, n)
	}
}

func judgeExchange(f *Facts) verdict {
	switch {
	case !f.usesAzure():
		return skipped(noFileOverAzure)
	case f.NoNetwork:
		return unseen("the network (--no-network)")
	case !f.Exchanged:
		return unseen("a token, a client id and a tenant id to exchange it with")
	case f.Exchange == nil:
		return fine("Entra ID gives an access token for Key Vault")
	}
	fa := told(f.Exchange)
	if fa.Code == "SLU-IDENTITY-005" {
		return f.elsewhere(fa)
	}
	if blamed(f.Exchange) == "federated credential" {
		// Everything is equal, and still it is refused.
		fa.Why = "a federated credential that was made or changed a moment ago has not reached every region yet"
		fa.Fix = "wait some minutes, then: sluice doctor --kustomization " + f.Object.Name + " -n " + f.Object.Namespace
	}
	return broken(fa, "an access token for Key Vault", nil)
}
