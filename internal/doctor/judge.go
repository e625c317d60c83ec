package doctor

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// blamed says which hop an error belongs to. The exchange and the trial decryption pass over many hops at once; what
// they fail with names the one that failed. "" is nobody's.
func blamed(err error) string {
	var refused *identity.Refused
	if errors.As(err, &refused) {
		if name, ok := blamedByCode[refused.Code]; ok {
			return name
		}
		return "exchange"
	}
	f := fault.From(err)
	if f == nil {
		return ""
	}
	if name, ok := blamedByFault[f.Code]; ok {
		return name
	}
	switch f.Hop {
	case fault.HopSOPS:
		return "sops files"
	case fault.HopIdentity:
		return "token"
	case fault.HopEntra:
		return "exchange"
	case fault.HopVault:
		return "vault"
	case fault.HopKey:
		return "key"
	}
	return "unwrap"
}

// By AADSTS code (azure-protocol.md, section 1).
var blamedByCode = map[int]string{
	700016: "managed identity", 90002: "managed identity",
	50027: "token", 700024: "token",
	50166: "issuer", 90061: "issuer", 501661: "issuer", 7000272: "issuer",
	70021: "federated credential", 700211: "federated credential", 700212: "federated credential",
	700213: "federated credential", 7002138: "federated credential", 70025: "federated credential",
}

// By the fault's own code, where its hop alone does not tell.
var blamedByFault = map[string]string{
	"SLU-IDENTITY-005": "pod",             // it signs in to another cloud than the vault's
	"SLU-IDENTITY-002": "service account", // a tenant that no tenant can be called
	"SLU-ENTRA-030":    "vault",           // the vault belongs to another tenant
	"SLU-SOPS-006":     "document",        // a value that was changed
	"SLU-SOPS-007":     "document",        // the MAC
	"SLU-KEYRING-001":  "sops files",      // none of the recipients is the cluster's
	"SLU-VAULT-001":    "sops files",      // a recipient that is no vault
	"SLU-VAULT-002":    "access", "SLU-VAULT-003": "access", "SLU-VAULT-007": "access",
	"SLU-VAULT-005": "unwrap", // throttled: everything before is as it should be
	"SLU-VAULT-008": "unwrap",
	"SLU-KEY-005":   "unwrap",
}

// exchangeFault is what the exchange failed with, if the hop called name is to blame.
func (f *Facts) exchangeFault(name string) *fault.Fault {
	if f.Exchanged && f.Exchange != nil && blamed(f.Exchange) == name {
		return told(f.Exchange)
	}
	return nil
}

// trialFault is what opening a document failed with, if the hop called name is to blame, and the document.
func (f *Facts) trialFault(name string) (*fault.Fault, *Document) {
	for i := range f.Documents {
		if d := &f.Documents[i]; d.Tried && d.OpenErr != nil && blamed(d.OpenErr) == name {
			return told(d.OpenErr), d
		}
	}
	return nil, nil
}

// told is a copy of err's fault, so that a judge may add to it.
func told(err error) *fault.Fault {
	if f := fault.From(err); f != nil {
		own := *f
		return &own
	}
	return &fault.Fault{Hop: fault.HopAPI, Seen: err.Error(), Err: err}
}

// usesAzure says whether this chain leads over Azure: not if every file is sealed for other keys alone.
func (f *Facts) usesAzure() bool {
	for _, d := range f.Documents {
		if len(d.Keys) > 0 {
			return true
		}
	}
	return len(f.Documents) == 0
}

// proven says that a file that is sealed with a Key Vault key was opened by the account's own identity: whatever Resource
// Manager says or does not say, every hop up to there holds.
func (f *Facts) proven() bool {
	ok := false
	for _, d := range f.Documents {
		if len(d.Keys) == 0 {
			continue
		}
		if name := blamed(d.OpenErr); !d.Tried || d.OpenErr != nil && name != "document" {
			return false
		}
		ok = true
	}
	return ok
}

func (f *Facts) subject() string {
	return "system:serviceaccount:" + f.Account.Namespace + ":" + f.Account.Name
}

const noFileOverAzure = "no file here is sealed with a Key Vault key"

// forbidden says what is needed where the API server refuses; ok is false for any other error.
func forbidden(err error, verb, resource, namespace string) (v verdict, ok bool) {
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return unseen(fmt.Sprintf("%s on %s in namespace %s", verb, resource, namespace)), true
	}
	return verdict{}, false
}

// needsAzure says what is needed to see Resource Manager.
func (f *Facts) needsAzure(err error) verdict {
	switch {
	case f.NoNetwork:
		return unseen("the network (--no-network)")
	case err == nil || errors.Is(err, errNoAzure):
		return unseen("an Azure sign-in with the role Reader (az login)")
	}
	if fa := fault.From(err); fa != nil {
		return unseen("an Azure sign-in with the role Reader (" + fa.Seen + ")")
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return unseen("the role Reader on the subscription (" + text + ")")
}

func compare(a, b string) int { return strings.Compare(a, b) }

// difference says in words how two strings that should be equal differ.
func difference(have, want string) string {
	switch {
	case have == want:
		return ""
	case strings.TrimSuffix(have, "/") == strings.TrimSuffix(want, "/"):
		return "a trailing slash"
	case strings.EqualFold(have, want):
		return "letter case"
	case strings.TrimSpace(have) == strings.TrimSpace(want):
		return "white space"
	}
	h, w := strings.Split(have, ":"), strings.Split(want, ":")
	if len(h) == 4 && len(w) == 4 && h[0] == "system" && w[0] == "system" {
		switch {
		case h[2] != w[2] && h[3] == w[3]:
			return "the namespace"
		case h[2] == w[2]:
			return "the ServiceAccount's name"
		}
	}
	return "another value"
}
