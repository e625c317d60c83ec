package identity

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// The names of AKS's workload identity webhook (azure-workload-identity, docs/topics/service-account-labels-and-annotations).
const (
	UseLabel         = "azure.workload.identity/use" // of a pod: "true"
	ClientAnnotation = "azure.workload.identity/client-id"
	TenantAnnotation = "azure.workload.identity/tenant-id"
)

// Account names the ServiceAccount of a tenant, for which the API server makes tokens on request. No Deployment belongs
// to it, so what mends its sign-in is another than what mends a pod's.
type Account struct{ Namespace, Name string }

// String gives namespace/name.
func (a Account) String() string { return a.Namespace + "/" + a.Name }

// Unannotated tells that a ServiceAccount does not say who it is: missing are the annotations that it lacks.
func (a Account) Unannotated(missing ...string) *fault.Fault {
	set := make([]string, len(missing))
	for i, name := range missing {
		sample := "$(az identity show -g <group> -n <identity> --query clientId -o tsv)"
		if name == TenantAnnotation {
			sample = "$(az account show --query tenantId -o tsv)"
		}
		set[i] = name + "=" + sample
	}
	return &fault.Fault{
		Code: "SLU-IDENTITY-090", Hop: fault.HopIdentity, Object: "ServiceAccount/" + a.String(),
		Seen: "it lacks the annotation " + strings.Join(missing, " and "),
		Why:  "Entra ID cannot be asked for a token without knowing whose",
		Fix:  fmt.Sprintf("kubectl annotate serviceaccount -n %s %s --overwrite %s", a.Namespace, a.Name, strings.Join(set, " ")),
	}
}

// Unread tells that a ServiceAccount cannot be read: err is the API server's. field, if it is not empty, is what names
// the account.
func (a Account) Unread(err error, field string) *fault.Fault {
	f := &fault.Fault{
		Code: "SLU-IDENTITY-091", Hop: fault.HopIdentity, Object: "ServiceAccount/" + a.String(), Err: err,
		Seen: "ServiceAccount " + a.String() + " cannot be read", Why: err.Error(),
		Fix: "kubectl create serviceaccount " + a.Name + " -n " + a.Namespace,
	}
	switch {
	case !apierrors.IsNotFound(err):
		f.Fix = "grant the controller get on serviceaccounts in namespace " + a.Namespace
	case field != "":
		f.Fix += ", or correct " + field
	}
	return f
}
