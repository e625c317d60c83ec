package identity

import (
	"fmt"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Foresee tells a refusal that Entra ID has not pronounced yet, in the words in which the exchange would be explained:
// code is the number behind AADSTS, seen what was found that will lead to it, cfg who would sign in, c what the token to
// be exchanged says. A doctor compares before it exchanges; cause and command are the same either way.
func Foresee(code int, seen string, cfg Config, c Claims) *fault.Fault {
	return refusalFault(code, seen, cfg.party(c))
}

// party is who cfg signs in as, with the claims of the token that is exchanged.
func (cfg Config) party(c Claims) party {
	p := party{client: cfg.ClientID, tenant: cfg.TenantID, authority: cfg.AuthorityHost, claims: c, federated: true, account: cfg.Account, now: time.Now()}
	if cfg.Clock != nil {
		p.now = cfg.Clock()
	}
	return p
}

// refusalFault explains one AADSTS code. A code that is not in the table keeps Entra ID's own words.
func refusalFault(code int, seen string, p party) *fault.Fault {
	f := &fault.Fault{
		Code: "SLU-ENTRA-001", Hop: fault.HopEntra, Object: "client " + p.client, Err: &Refused{Code: code}, Seen: seen,
		Why: "Entra ID refused the sign-in",
		Fix: fmt.Sprintf("open https://login.microsoftonline.com/error?code=%d, where Entra ID explains the code", code),
	}
	if r, ok := refusals[code]; ok {
		f.Code = "SLU-ENTRA-" + r.number
		f.Why, f.Fix = r.why(p), r.fix(p)
	}
	f.Fix = p.cloud().Command(f.Fix)
	return f
}

// Absent tells that a pod was given no Azure identity: seen says what shows it, in the words that a pod without its
// environment is explained with.
func Absent(seen string) *fault.Fault {
	f := noIdentity([]string{envClientID, envTenantID, envTokenFile})
	f.Seen = seen
	return f
}

// OtherTenant tells that a vault belongs to a tenant that cfg does not sign in to.
func OtherTenant(cfg Config, vaults string) *fault.Fault {
	p := cfg.party(Claims{})
	p.asked = vaults
	return otherTenant(p)
}

// Unreadable tells that the service-account token of cfg could not be had.
func Unreadable(cfg Config, err error) *fault.Fault { return unreadable(cfg, err) }

// Malformed tells that what cfg's assertion gave is no token.
func Malformed(cfg Config) *fault.Fault { return malformed(cfg) }
