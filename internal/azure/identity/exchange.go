package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// party is who was refused, and what the refused token said.
type party struct {
	client, tenant, authority string
	asked                     string // tenant that the vault's challenge named
	claims                    Claims
	now                       time.Time
	federated                 bool
	account                   Account // zero: not by TokenRequest
}

var aadsts = lazyregexp.New(`AADSTS(\d{4,8})\b:?\s*([^\r\n]*)`)

// exchangeFault explains an error of azidentity. Entra ID's own words are kept up to the trace id; they hold the
// presented issuer, subject or audience, never a token.
func exchangeFault(err error, p party) *fault.Fault {
	code, text, status := refusalOf(err)
	if code == 0 {
		return unanswered(err, p, status)
	}
	return refusalFault(code, fmt.Sprintf("AADSTS%d: %s", code, text), p)
}

// Refused is the cause inside an exchange fault: Entra ID answered, and this was its code.
type Refused struct {
	Code int // the number behind AADSTS
}

// Error gives the code alone: the SDK's text repeats the whole reply.
func (r *Refused) Error() string { return "AADSTS" + strconv.Itoa(r.Code) }

// NonRetriable tells azcore's retry policy that asking again cannot help.
func (r *Refused) NonRetriable() {}

// refusalOf finds the AADSTS code: in the reply's error_codes, in its description, or in the words of the error when
// the SDK kept no reply.
func refusalOf(err error) (code int, text string, status int) {
	var failed *azidentity.AuthenticationFailedError
	if errors.As(err, &failed) && failed.RawResponse != nil {
		status = failed.RawResponse.StatusCode
		body, _ := runtime.Payload(failed.RawResponse)
		var reply struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
			Codes       []int  `json:"error_codes"`
		}
		if json.Unmarshal(body, &reply) == nil {
			if m := aadsts.FindStringSubmatch(reply.Description); m != nil {
				code, _ = strconv.Atoi(m[1])
				return code, firstSentence(m[2]), status
			}
			if len(reply.Codes) > 0 {
				return reply.Codes[0], reply.Error, status
			}
		}
		return 0, "", status
	}
	if m := aadsts.FindStringSubmatch(err.Error()); m != nil {
		code, _ = strconv.Atoi(m[1])
		return code, firstSentence(m[2]), 0
	}
	return 0, "", 0
}

// firstSentence cuts Entra ID's description before the ids that only its own support can use.
func firstSentence(s string) string {
	for _, mark := range []string{" Trace ID:", "Trace ID:", `\r\n`, " Correlation ID:", `"`} {
		if i := strings.Index(s, mark); i >= 0 {
			s = s[:i]
		}
	}
	s = strings.TrimRight(strings.TrimSpace(s), ".")
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return s
}

// unanswered explains an exchange that brought no AADSTS code: the network, a proxy, or the SDK's own refusal.
func unanswered(err error, p party, status int) *fault.Fault {
	host := "login.microsoftonline.com"
	if p.authority != "" {
		host = strings.Trim(strings.TrimPrefix(p.authority, "https://"), "/")
	}
	f := &fault.Fault{Hop: fault.HopEntra, Object: "client " + p.client, Err: err}
	text := err.Error()
	switch {
	case strings.Contains(text, "acquire tokens for tenant"):
		return otherTenant(p)
	case status != 0:
		f.Code = "SLU-ENTRA-031"
		f.Seen = fmt.Sprintf("%s answered HTTP %d without an AADSTS code", host, status)
		f.Why = "Entra ID is unavailable, or something between here and it answered in its place"
		f.Fix = "curl -sS -o /dev/null -w '%{http_code}\\n' https://" + host + "/" + p.tenant + "/v2.0/.well-known/openid-configuration"
	default:
		f.Code = "SLU-ENTRA-032"
		f.Seen = host + " cannot be reached"
		f.Why = networkTrouble(text)
		if f.Why == "" {
			f.Why = "the request for a token brought no answer"
		}
		f.Fix = "allow the pod egress to " + host + ":443 (DNS, NetworkPolicy, HTTPS_PROXY and its CA); try: curl -sS https://" + host + "/" + p.tenant + "/v2.0/.well-known/openid-configuration"
	}
	return f
}

// otherTenant tells that the vault's challenge names a tenant that the identity does not sign in to: the SDK refuses then,
// without asking Entra ID.
func otherTenant(p party) *fault.Fault {
	return &fault.Fault{
		Code: "SLU-ENTRA-030", Hop: fault.HopEntra, Object: "client " + p.client,
		Seen: fmt.Sprintf("the vault belongs to tenant %s, the identity signs in to tenant %s", p.asked, p.tenant),
		Why:  "an access token of one tenant opens no vault of another",
		Fix:  annotate(p, "tenant-id", p.asked),
	}
}

// networkTrouble names the network error that the words of err tell of; empty for any other. The SDK keeps only the
// words of such errors, so the words are what there is to go by.
func networkTrouble(text string) string {
	for _, t := range []struct{ mark, why string }{
		{"no such host", "its name does not resolve"},
		{"certificate signed by unknown authority", "its certificate is signed by an authority that this system does not trust"},
		{"x509:", "its certificate is not valid"},
		{"connection refused", "the connection was refused"},
		{"network is unreachable", "the network is unreachable"},
	} {
		if strings.Contains(text, t.mark) {
			return t.why
		}
	}
	return ""
}
