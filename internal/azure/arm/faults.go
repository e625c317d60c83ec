package arm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// refusal is what a Resource Manager code means and what mends it.
type refusal struct{ number, why, fix string }

var quota = refusal{"021", "the subscription may not run so many cores of this kind in this region", "az vm list-usage -l LOCATION -o table (what is used and allowed); then --node-size with another kind, or ask for more: https://aka.ms/aks/quota"}

var refusals = map[string]refusal{
	"AuthorizationFailed":                  {"002", "you have no role that allows this", "az role assignment create --assignee $(az ad signed-in-user show --query id -o tsv) --role Contributor --scope /subscriptions/$(az account show --query id -o tsv)"},
	"LinkedAuthorizationFailed":            {"003", "you have no role on a resource that this one refers to", "az role assignment list --assignee $(az ad signed-in-user show --query id -o tsv) --all -o table"},
	"SubscriptionNotFound":                 {"004", "the subscription does not exist, or you have no role in it", "az account list -o table"},
	"ResourceGroupNotFound":                {"005", "the resource group does not exist", "az group list -o table"},
	"ResourceNotFound":                     {"006", "the resource does not exist in this group", "az resource list -o table"},
	"VaultAlreadyExists":                   {"007", "vault names are unique in the whole of Azure, and somebody has this one", "choose another vault name"},
	"ConflictError":                        {"008", "a deleted vault keeps the name until it is purged or recovered", "az keyvault list-deleted -o table"},
	"VaultNameNotValid":                    {"009", "a vault's name has 3 to 24 letters, digits and single hyphens, and begins with a letter", "choose another vault name"},
	"MissingSubscriptionRegistration":      {"011", "the subscription has not used this kind of resource yet", "az provider register -n NAMESPACE --wait"},
	"RequestDisallowedByPolicy":            {"012", "an Azure Policy of your organization forbids it", "az policy assignment list -o table"},
	"InvalidAuthenticationToken":           {"013", "the access token was not accepted", "az login"},
	"ExpiredAuthenticationToken":           {"014", "the access token has expired, or a clock is off", "date -u"},
	"InvalidAuthenticationTokenTenant":     {"015", "the subscription belongs to another tenant than the one you signed in to", "az account show --query tenantId -o tsv"},
	"TooManyRequests":                      {"016", "Azure limits the rate of requests", "wait a minute and run it again: what is made stays"},
	"LocationNotAvailableForResourceGroup": {"017", "the location does not exist", "az account list-locations --query \"[].name\" -o tsv"},
	"ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity": {"018", "somebody else has been writing federated credentials of this identity for two minutes", "wait for the other one to end, and run it again"},
	"QuotaExceeded":                    quota,
	"InsufficientVCPUQuota":            quota,
	"ErrCode_InsufficientVCPUQuota":    quota,
	"ResourceGroupBeingDeleted":        {"022", "the group is being deleted, with everything in it", "az group wait --deleted -n GROUP, and run it again"},
	"OperationNotAllowed":              {"023", "another change of this resource is under way", "az resource wait --updated --ids ID, and run it again"},
	"RoleAssignmentUpdateNotPermitted": {"024", "a role assignment of this name says something else", "az role assignment list --all -o table"},
	"PrincipalNotFound":                {"025", "the directory does not know the identity yet: a new one needs a minute to be known everywhere", "wait a minute and run it again"},
	"InvalidResourceGroupLocation":     {"030", "the group exists in another location, and groups do not move", "az group show -n GROUP --query location -o tsv"},
}

// explain turns an error of a Resource Manager client into a fault. Faults of the credential pass as they are.
func explain(err error, object string) error {
	if err == nil {
		return nil
	}
	if f := fault.From(err); f != nil {
		return f
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", object, err)
	}
	f := &fault.Fault{Code: "SLU-ARM-001", Hop: fault.HopARM, Object: object, Err: err}
	var r *azcore.ResponseError
	if !errors.As(err, &r) {
		f.Code, f.Err = "SLU-ARM-019", err
		f.Seen = "Azure Resource Manager cannot be reached"
		f.Why, _, _ = strings.Cut(err.Error(), "\n")
		f.Fix = "curl -sS https://management.azure.com/ (DNS, proxy and its CA)"
		return f
	}
	code, message := bodyOf(r)
	f.Err = &Refused{Status: r.StatusCode, Code: code}
	f.Seen = strings.TrimSpace(fmt.Sprintf("HTTP %d %s", r.StatusCode, code))
	if r.StatusCode == http.StatusOK {
		f.Seen = "the operation failed: " + code // it was taken, and its end told of this
	}
	f.Why = message
	f.Fix = "az monitor activity-log list --status Failed --offset 1h -o table"
	if r.StatusCode == http.StatusTooManyRequests {
		code = "TooManyRequests" // whatever the limit is called that was met
	}
	if code == "OperationNotAllowed" && strings.Contains(strings.ToLower(message), "quota") {
		code = "QuotaExceeded" // what Compute calls it
	}
	if known, ok := refusals[code]; ok {
		f.Code, f.Fix = "SLU-ARM-"+known.number, known.fix
		f.Why = known.why
		if message != "" {
			f.Seen += ": " + message
		}
	}
	fillIn(f, r, message)
	return f
}

var (
	namespaceIn = lazyregexp.New(`namespace '([^']+)'`)
	groupIn     = lazyregexp.New(`(?i)/resourcegroups/([^/?]+)`)
)

// fillIn puts the names that the request and Azure's message hold into a fix.
func fillIn(f *fault.Fault, r *azcore.ResponseError, message string) {
	if m := namespaceIn.FindStringSubmatch(message); m != nil {
		f.Fix = strings.ReplaceAll(f.Fix, "NAMESPACE", m[1])
	}
	if r.RawResponse == nil {
		return
	}
	if req := r.RawResponse.Request; req != nil {
		if m := groupIn.FindStringSubmatch(req.URL.Path); m != nil {
			f.Fix = strings.ReplaceAll(f.Fix, "GROUP", m[1])
		}
		if strings.Contains(req.URL.Path, "/providers/") {
			f.Fix = strings.ReplaceAll(f.Fix, "--ids ID", "--ids "+req.URL.Path)
		}
	}
	if after := r.RawResponse.Header.Get("Retry-After"); r.StatusCode == http.StatusTooManyRequests && after != "" {
		f.Fix = "wait " + after + " seconds (Azure's Retry-After) and run it again: what is made stays"
	}
}

// Refused is the cause inside a fault of this package: Resource Manager answered, with this status and code.
type Refused struct {
	Status int
	Code   string
}

// Error gives status and code; the message is in the fault.
func (r *Refused) Error() string {
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", r.Status, r.Code))
}

// instead gives a fault the fix that fits where it was met better than its code's own, when it is a refusal for want of
// a role.
func instead(err error, fix string) error {
	f := fault.From(err)
	if f == nil || f.Code != "SLU-ARM-002" {
		return err
	}
	fitting := *f
	fitting.Fix = fix
	return &fitting
}

// bodyOf reads code and message of Resource Manager's error body, the message cut to one line of 300 bytes.
func bodyOf(r *azcore.ResponseError) (code, message string) {
	var body struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if r.RawResponse != nil {
		raw, _ := runtime.Payload(r.RawResponse)
		_ = json.Unmarshal(raw, &body)
	}
	code, message = body.Error.Code, body.Error.Message
	if code == "" {
		code = r.ErrorCode
	}
	message, _, _ = strings.Cut(strings.TrimSpace(message), "\n")
	if len(message) > 300 {
		message = strings.ToValidUTF8(message[:300], "") + "…"
	}
	return code, strings.TrimSpace(message)
}

func codeOf(err error) string {
	var r *azcore.ResponseError
	if !errors.As(err, &r) {
		return ""
	}
	code, _ := bodyOf(r)
	return code
}

// absent reports whether the resource itself is missing; a missing group or subscription is a fault.
func absent(err error) bool {
	var r *azcore.ResponseError
	if !errors.As(err, &r) || r.StatusCode != http.StatusNotFound {
		return false
	}
	code, _ := bodyOf(r)
	return code != "ResourceGroupNotFound" && code != "SubscriptionNotFound"
}
