package keyring

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// explain tells why no data key was found: the failure itself where there is one candidate, all of them where there
// are several, and what is missing where there is none.
func (s *session) explain(doc *sops.Metadata, got, need int) error {
	var real []attempt
	for _, a := range s.attempts {
		if a.plausible {
			real = append(real, a)
		}
	}
	// Where some recipients were really asked, that there is no way to others is no news.
	if asked := slices.DeleteFunc(slices.Clone(real), func(a attempt) bool { return a.absent }); len(asked) > 0 {
		real = asked
	}
	switch {
	case len(real) == 0:
		return s.noneFits(doc, got, need)
	case len(real) == 1 || sameFault(real):
		return real[0].err
	}
	f := &fault.Fault{Code: "SLU-KEYRING-002", Hop: fault.HopKeyring, Object: "identity " + s.id.Name,
		Seen: fmt.Sprintf("none of the %d recipients that this identity should open gave the data key", len(real))}
	errs := make([]error, len(real))
	var whys []string
	for i, a := range real {
		errs[i] = a.err
		seen := a.err.Error()
		if inner := fault.From(a.err); inner != nil {
			seen = string(inner.Hop) + ": " + inner.Seen
			if f.Fix == "" {
				f.Fix = inner.Fix
			}
		}
		whys = append(whys, describe(a.recipient)+": "+seen)
	}
	f.Why, f.Err = strings.Join(whys, "; "), errors.Join(errs...)
	return f
}

// sameFault reports whether all attempts failed for one and the same reason, as they do when the sign-in fails.
func sameFault(list []attempt) bool {
	first := fault.From(list[0].err)
	for _, a := range list[1:] {
		if f := fault.From(a.err); f == nil || first == nil || f.Code != first.Code || f.Object != first.Object || f.Seen != first.Seen {
			return false
		}
	}
	return true
}

func (s *session) noneFits(doc *sops.Metadata, got, need int) error {
	var have []string
	kinds := map[string]bool{}
	for _, g := range doc.KeyGroups {
		for _, k := range g {
			have = append(have, describe(k))
			kinds[k.Kind()] = true
		}
	}
	f := &fault.Fault{
		Code: "SLU-KEYRING-001", Hop: fault.HopKeyring, Object: "identity " + s.id.Name,
		Seen: "no key for any of the file's recipients: " + strings.Join(have, ", "),
		Why:  "the identity has " + s.holdings(),
		Fix:  fixFor(kinds),
	}
	if s.id.station != nil {
		f.Fix = stationFix(kinds)
	}
	if need > 1 {
		f.Seen = fmt.Sprintf("%d of the %d key groups that the file asks for could be opened; its recipients: %s", got, need, strings.Join(have, ", "))
	}
	return f
}

// holdings lists what the identity could have opened, by public names.
func (s *session) holdings() string {
	if s.id.station != nil {
		return s.id.station.holdings()
	}
	var out []string
	for _, id := range s.id.Age {
		if name := ageRecipient(id); name != "" {
			out = append(out, "the age key of "+name)
		} else {
			out = append(out, "an SSH key")
		}
	}
	for _, e := range s.id.PGP {
		out = append(out, "the PGP key "+hexUpper(e.PrimaryKey.Fingerprint))
	}
	for _, have := range []struct {
		it   bool
		name string
	}{{s.id.Azure != nil, "an Azure identity"}, {s.id.AWS != nil, "an AWS identity"}, {s.id.Google != nil, "a Google identity"}, {s.id.Vault != nil, "a Vault token"}} {
		if have.it {
			out = append(out, have.name)
		}
	}
	if len(out) == 0 {
		return "no age key, no PGP key and no Azure identity"
	}
	return "only " + strings.Join(out, ", ")
}

func fixFor(kinds map[string]bool) string {
	switch {
	case kinds["age"]:
		return "put the age key into the Secret that spec.decryption.secretRef names: kubectl create secret generic sops-age -n flux-system --from-file=age.agekey=<key file>"
	case kinds["pgp"]:
		return "put the PGP key into the Secret that spec.decryption.secretRef names: kubectl create secret generic sops-gpg -n flux-system --from-file=sops.asc=<armored private key>"
	case kinds["azure_kv"]:
		return `give the controller an Azure identity: the label azure.workload.identity/use: "true" on the pod template of kustomize-controller`
	case kinds["kms"]:
		return "give the controller an AWS identity: kubectl annotate serviceaccount -n flux-system kustomize-controller eks.amazonaws.com/role-arn=<role ARN>"
	case kinds["gcp_kms"]:
		return "put a service account's key into the Secret that spec.decryption.secretRef names, as its entry sops.gcp-kms"
	case kinds["hc_vault"]:
		return "put a token into the Secret that spec.decryption.secretRef names, as its entry sops.vault-token"
	}
	return "add a recipient that the identity can open: sops rotate -i --add-azure-kv <key URL> <file>"
}

func describe(k recipient.Key) string {
	return k.Kind() + " " + k.String()
}

// undecryptable tells that a recipient's own key did not open its part. The cause is kept out: it comes from parsers
// that quote what they were fed.
func undecryptable(name string) *fault.Fault {
	return &fault.Fault{
		Code: "SLU-KEYRING-003", Hop: fault.HopKeyring, Object: name,
		Seen: "the document's data key cannot be decrypted with it",
		Why:  "the recipient's enc was changed, or does not belong to this key",
		Fix:  "restore the file from Git as it was sealed, or run sops updatekeys on it where the key still opens",
	}
}

func partsDoNotFit(n int) *fault.Fault {
	return &fault.Fault{
		Code: "SLU-KEYRING-004", Hop: fault.HopKeyring,
		Seen: fmt.Sprintf("the %d parts of the data key do not fit together", n),
		Why:  "a key group's enc was changed, or belongs to another file",
		Fix:  "restore the file from Git as it was sealed",
	}
}
