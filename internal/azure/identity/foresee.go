package identity

import (
	"fmt"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Foresee tells a refusal that Entra ID has not pronounced yet, in the words in which the exchange would be explained:
// code is the number behind AADSTS, seen what was found that will lead to it, c what the token to be exchanged says. A
// doctor compares before it exchanges; cause and command are the same either way.
func Foresee(code int, seen, client, tenant string, c Claims) *fault.Fault {
	return refusalFault(code, seen, party{client: client, tenant: tenant, claims: c, federated: true})
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
	return f
}

// Absent tells that a pod was given no Azure identity: seen says what shows it, in the words that a pod without its
// environment is explained with.
func Absent(seen string) *fault.Fault {
	f := noIdentity([]string{envClientID, envTenantID, envTokenFile})
	f.Seen = seen
	return f
}

// Unreadable tells that a service-account token could not be had.
func Unreadable(err error) *fault.Fault { return unreadable(Config{}, err) }

// Malformed tells that file does not hold a token.
func Malformed(file string) *fault.Fault { return malformed(Config{TokenFile: file}) }
