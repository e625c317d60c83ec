package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
)

const patchesHint = "flux-system/patches"

// noIdentity tells that the webhook passed this pod by.
func noIdentity(missing []string) *fault.Fault {
	verb := "is"
	if len(missing) > 1 {
		verb = "are"
	}
	return &fault.Fault{
		Code: "SLU-IDENTITY-001", Hop: fault.HopIdentity,
		Seen: fmt.Sprintf("the pod has no Azure identity: %s %s not set", strings.Join(missing, ", "), verb),
		Why: `the workload identity webhook acts only on pods that carry the label azure.workload.identity/use: "true" ` +
			`and whose ServiceAccount carries the annotation azure.workload.identity/client-id`,
		Fix: `add the label azure.workload.identity/use: "true" to the pod template of the Deployment in ` + patchesHint +
			` and the annotations azure.workload.identity/client-id and azure.workload.identity/tenant-id to its ServiceAccount`,
	}
}

// misconfigured tells that the SDK refused the configuration itself, before anything was sent.
func misconfigured(cfg Config, err error) *fault.Fault {
	f := &fault.Fault{
		Code: "SLU-IDENTITY-002", Hop: fault.HopIdentity, Err: err,
		Seen: fmt.Sprintf("the pod's Azure identity is not usable: tenant %q, authority %q", cfg.TenantID, cfg.AuthorityHost),
		Why:  "the tenant may hold only letters, digits, dots and hyphens, and the authority must be an https URL",
		Fix:  annotate(party{account: cfg.Account}, "tenant-id", "$(az account show --query tenantId -o tsv)"),
	}
	if cfg.Account != (Account{}) {
		f.Seen = strings.Replace(f.Seen, "the pod's", "the ServiceAccount's", 1)
	}
	if cfg.AuthorityHost != "" && !strings.HasPrefix(cfg.AuthorityHost, "https://") {
		f.Fix = "set " + envAuthority + " to https://login.microsoftonline.com/ or remove it"
	}
	f.Fix = party{authority: cfg.AuthorityHost}.cloud().Command(f.Fix)
	return f
}

// unreadable tells that the service-account token could not be had. err is the file system's or the API server's.
func unreadable(cfg Config, err error) *fault.Fault {
	if f := fault.From(err); f != nil {
		return f
	}
	f := &fault.Fault{
		Code: "SLU-IDENTITY-003", Hop: fault.HopIdentity, Err: err,
		Seen: "the service-account token cannot be read: " + err.Error(),
		Why:  "the kubelet projects it only into pods that the workload identity webhook has changed",
		Fix:  "kubectl rollout restart -n flux-system deployment/kustomize-controller",
	}
	if a := cfg.Account; a != (Account{}) {
		f.Seen = "no token can be requested for ServiceAccount " + a.Namespace + "/" + a.Name + ": " + err.Error()
		f.Why = "the API server refused the TokenRequest or did not answer"
		f.Fix = "kubectl auth can-i create serviceaccounts/token -n " + a.Namespace +
			" --as system:serviceaccount:flux-system:kustomize-controller"
		return f
	}
	if errors.Is(err, fs.ErrPermission) {
		f.Why = "the process's user may not read the projected volume"
		f.Fix = "set spec.template.spec.securityContext.fsGroup: 1337 on the Deployment"
	}
	return f
}

// malformed tells that the token file holds something else.
func malformed(cfg Config) *fault.Fault {
	where := "the service-account token"
	if cfg.TokenFile != "" {
		where = cfg.TokenFile
	}
	f := &fault.Fault{
		Code: "SLU-IDENTITY-004", Hop: fault.HopIdentity,
		Seen: where + " does not hold a JSON Web Token",
		Why:  "the file is empty, truncated or was not written by the kubelet",
		Fix:  "kubectl rollout restart -n flux-system deployment/kustomize-controller",
	}
	if a := cfg.Account; a != (Account{}) {
		f.Seen = "the token that the API server made for ServiceAccount " + a.Namespace + "/" + a.Name + " is no JSON Web Token"
		f.Why = "something between here and the API server answered in its place"
		f.Fix = "kubectl create token -n " + a.Namespace + " " + a.Name
	}
	return f
}
