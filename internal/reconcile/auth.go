package reconcile

import (
	"context"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

// gitAuth reads what spec.secretRef names, with the entry names that Flux documents for GitRepository Secrets. A
// repository without secretRef gets empty credentials.
func gitAuth(ctx context.Context, c client.Reader, r *sourcev1.GitRepository) (source.Auth, error) {
	if r.Spec.SecretRef == nil {
		return source.Auth{}, nil
	}
	data, err := secretData(ctx, c, r.Namespace, r.Spec.SecretRef.Name)
	if err != nil {
		if f := fault.From(err); f != nil {
			f.Hop, f.Object, f.Reason = fault.HopGit, "GitRepository/"+r.Namespace+"/"+r.Name, "AuthenticationFailed"
		}
		return source.Auth{}, err
	}
	return source.AuthOf(data), nil
}

// secretData returns a Secret's data. A missing or forbidden Secret is a fault that its caller completes with a hop.
func secretData(ctx context.Context, c client.Reader, namespace, name string) (map[string][]byte, error) {
	var s corev1.Secret
	err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &s)
	if err == nil {
		return s.Data, nil
	}
	f := &fault.Fault{Hop: fault.HopAPI, Seen: "Secret " + namespace + "/" + name + " cannot be read", Why: err.Error(), Err: err}
	switch {
	case apierrors.IsNotFound(err):
		f.Code, f.Seen, f.Why = "SLU-KUBERNETES-001", "Secret "+namespace+"/"+name+" does not exist", "secretRef names it"
		f.Fix = "kubectl create secret generic " + name + " -n " + namespace + " …, or correct secretRef.name"
	case apierrors.IsForbidden(err):
		f.Code, f.Fix = "SLU-KUBERNETES-002", "grant the controller's ServiceAccount get on secrets in namespace "+namespace
	}
	return nil, f
}
