package keyvault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// operation is what was asked of the vault, named as its permissions are.
type operation string

const (
	opDecrypt operation = "decrypt"
	opEncrypt operation = "encrypt"
	opGet     operation = "get"
)

// permissions are what a principal that does op works with. az's set-policy replaces a principal's permissions, so the
// list must be whole.
func (op operation) permissions() string {
	if op == opEncrypt {
		return "get encrypt decrypt"
	}
	return "get decrypt"
}

// reply is Key Vault's error body. azcore shows only the outer code, so the body is read here.
type reply struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Inner   struct {
			Code string `json:"code"`
		} `json:"innererror"`
	} `json:"error"`
}

// caller finds who the vault says was refused.
var (
	callerOID   = lazyregexp.New(`oid=([0-9a-fA-F-]{36})`)
	callerAppID = lazyregexp.New(`appid=([0-9a-fA-F-]{36})`)
)

// explain turns an error of azkeys into a fault of hop "vault" or "key".
func explain(err error, id KeyID, op operation) *fault.Fault {
	var r *azcore.ResponseError
	if !errors.As(err, &r) {
		return unreachable(err, id)
	}
	var body reply
	if r.RawResponse != nil {
		raw, _ := runtime.Payload(r.RawResponse)
		_ = json.Unmarshal(raw, &body)
	}
	code := body.Error.Inner.Code
	if code == "" {
		code = body.Error.Code
	}
	if code == "" {
		code = r.ErrorCode
	}
	f := &fault.Fault{Hop: fault.HopVault, Object: "key vault " + id.VaultName(), Err: &Refused{Status: r.StatusCode, Code: code}}
	f.Seen = strings.TrimSpace(fmt.Sprintf("HTTP %d %s", r.StatusCode, code))
	if body.Error.Message != "" {
		f.Seen += ": " + shorten(body.Error.Message)
	}
	classify(f, r.StatusCode, code, body.Error.Message, id, op)
	return f
}

// Refused is the cause inside a vault fault: the vault answered, with this status and its innermost code.
type Refused struct {
	Status int
	Code   string
}

// Error gives status and code; the vault's message is in the fault.
func (r *Refused) Error() string { return fmt.Sprintf("HTTP %d %s", r.Status, r.Code) }

// Denied reports whether err is a vault's access decision (401 or 403), after which nothing that the identity unwrapped
// earlier may be served from memory.
func Denied(err error) bool {
	var r *Refused
	return errors.As(err, &r) && (r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden) &&
		r.Code != "KeyDisabled" && r.Code != "KeyOperationForbidden"
}

func classify(f *fault.Fault, status int, code, message string, id KeyID, op operation) {
	defer func() { f.Fix = id.cloud().Command(f.Fix) }()
	keyFlags := fmt.Sprintf("--vault-name %s -n %s", id.VaultName(), id.Name)
	switch {
	case code == "ForbiddenByPolicy" || code == "AccessDenied":
		f.Code = "SLU-VAULT-002"
		f.Why = fmt.Sprintf("the vault's access policy does not give %s the key permission %s", who(message), op)
		f.Fix = fmt.Sprintf("az keyvault set-policy -n %s --object-id %s --key-permissions %s", id.VaultName(), oid(message), op.permissions())
	case code == "ForbiddenByRbac":
		f.Code = "SLU-VAULT-003"
		f.Why = fmt.Sprintf("the vault is in RBAC mode, and %s has no role with the key permission %s; a new assignment takes minutes to work", who(message), op)
		f.Fix = fmt.Sprintf("az role assignment create --assignee-object-id %s --assignee-principal-type ServicePrincipal --role \"Key Vault Crypto User\" --scope $(az keyvault show -n %s --query id -o tsv)", oid(message), id.VaultName())
	case code == "ForbiddenByFirewall" || code == "ForbiddenByConnection":
		f.Code = "SLU-VAULT-004"
		f.Why = "the vault's network rules do not admit the address that the request came from"
		f.Fix = fmt.Sprintf("az keyvault network-rule add -n %s --ip-address %s", id.VaultName(), clientAddress(message))
	case code == "KeyDisabled":
		f.Hop, f.Code, f.Object = fault.HopKey, "SLU-KEY-002", id.String()
		f.Why = "the key version is disabled, so nothing that was encrypted with it can be decrypted"
		version := ""
		if id.Version != "" {
			version = " --version " + id.Version
		}
		f.Fix = fmt.Sprintf("az keyvault key set-attributes %s%s --enabled true", keyFlags, version)
	case code == "KeyOperationForbidden":
		f.Hop, f.Code, f.Object = fault.HopKey, "SLU-KEY-003", id.String()
		f.Why = fmt.Sprintf("the key's own list of operations does not hold %s", op)
		f.Fix = fmt.Sprintf("az keyvault key set-attributes %s --ops encrypt decrypt", keyFlags)
	case code == "KeyNotFound" || status == http.StatusNotFound:
		f.Hop, f.Code, f.Object = fault.HopKey, "SLU-KEY-001", id.String()
		f.Why = "the vault has no such key or version: it was deleted, or the document was sealed with another vault's key"
		f.Fix = fmt.Sprintf("az keyvault key recover %s", keyFlags)
	case code == "ObjectIsDeletedButRecoverable":
		f.Hop, f.Code, f.Object = fault.HopKey, "SLU-KEY-004", id.String()
		f.Why = "a deleted key of this name waits in the vault"
		f.Fix = fmt.Sprintf("az keyvault key recover %s", keyFlags)
	case status == http.StatusBadRequest && op == opDecrypt:
		f.Hop, f.Code, f.Object = fault.HopKey, "SLU-KEY-005", id.String()
		f.Why = "the vault cannot decrypt the document's data key with this key: its enc was changed, or belongs to another key version"
		f.Fix = "restore the document from Git as it was sealed: git log --oneline -- <file>"
	case status == http.StatusTooManyRequests:
		f.Code = "SLU-VAULT-005"
		f.Why = "the vault's request limit is exceeded (RSA-2048: 4000 operations per 10 seconds and vault); it is asked again by itself"
		f.Fix = "spread the documents over more vaults, or raise the data keys' time in memory"
	case status == http.StatusUnauthorized && strings.Contains(message, "AKV10022"):
		f.Code = "SLU-VAULT-010"
		f.Why = "the access token was made for another service than the vault: the vault and the sign-in belong to different clouds"
		f.Fix = fmt.Sprintf("az keyvault show -n %s --query properties.vaultUri -o tsv, and compare its cloud with AZURE_AUTHORITY_HOST", id.VaultName())
	case status == http.StatusUnauthorized:
		f.Code = "SLU-VAULT-006"
		f.Why = "the vault does not accept the token: it trusts another tenant, or its tenant was changed after a subscription moved"
		f.Fix = fmt.Sprintf("az keyvault update -n %s --set properties.tenantId=$(az account show --query tenantId -o tsv)", id.VaultName())
	case status == http.StatusForbidden:
		f.Code = "SLU-VAULT-007"
		f.Why = fmt.Sprintf("the vault refused %s the operation %s", who(message), op)
		f.Fix = fmt.Sprintf("az keyvault set-policy -n %s --object-id %s --key-permissions %s", id.VaultName(), oid(message), op.permissions())
	default:
		f.Code = "SLU-VAULT-008"
		f.Why = "the vault could not serve the request; it is asked again by itself"
		f.Fix = fmt.Sprintf("az keyvault show -n %s --query properties.provisioningState -o tsv", id.VaultName())
	}
}

// unreachable explains a request that brought no answer.
func unreachable(err error, id KeyID) *fault.Fault {
	f := &fault.Fault{
		Code: "SLU-VAULT-009", Hop: fault.HopVault, Object: "key vault " + id.VaultName(), Err: err,
		Seen: id.host() + " cannot be reached", Why: shorten(err.Error()),
		Fix: "allow the pod egress to " + id.host() + ":443 (DNS, NetworkPolicy, HTTPS_PROXY and its CA)",
	}
	var dns *net.DNSError
	switch text := err.Error(); {
	case errors.As(err, &dns) && dns.IsNotFound || strings.Contains(text, "no such host"):
		f.Why = "its name does not resolve: the vault was deleted or never existed, or the DNS zone of its private endpoint is not linked to the cluster's network"
		f.Fix = fmt.Sprintf("az keyvault recover -n %s", id.VaultName())
	case strings.Contains(text, "x509:"):
		f.Why = "its certificate is not trusted by this system: something between here and the vault answers in its place"
	case strings.Contains(text, "doesn't match the requested domain"):
		f.Seen = id.host() + " did not answer as a Key Vault does"
		f.Why = "the resource that its challenge names is not the vault's own domain"
	case strings.Contains(text, "WWW-Authenticate"):
		f.Seen = id.host() + " did not answer as a Key Vault does"
		f.Why = "its answer holds no authentication challenge"
	case strings.Contains(text, "connection refused"):
		f.Why = "the connection was refused"
	}
	f.Fix = id.cloud().Command(f.Fix)
	return f
}

func notRSA(id KeyID) *fault.Fault {
	return &fault.Fault{
		Code: "SLU-KEY-006", Hop: fault.HopKey, Object: id.String(),
		Seen: "the key is not an RSA key",
		Why:  "SOPS encrypts data keys with RSA-OAEP-256",
		Fix:  id.cloud().Command(fmt.Sprintf("az keyvault key create --vault-name %s -n %s-rsa --kty RSA --size 3072 --ops encrypt decrypt", id.VaultName(), id.Name)),
	}
}

// who names the refused caller by what the vault says of it.
func who(message string) string {
	if m := callerAppID.FindStringSubmatch(message); m != nil {
		return "the application " + m[1] + " (object " + oid(message) + ")"
	}
	return "the object " + oid(message)
}

func oid(message string) string {
	if m := callerOID.FindStringSubmatch(message); m != nil {
		return m[1]
	}
	return "<object-id>"
}

var address = lazyregexp.New(`(?i)client address: ?([0-9a-f.:]+)`)

func clientAddress(message string) string {
	if m := address.FindStringSubmatch(message); m != nil {
		return strings.TrimRight(m[1], ".:")
	}
	return "<address>"
}

// shorten keeps the first line of a peer's message, up to 300 bytes.
func shorten(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = strings.TrimSpace(strings.TrimSuffix(s, "\r"))
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
