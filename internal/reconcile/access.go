package reconcile

import (
	"context"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// permitted refuses what this release cannot do and what the controller's flags forbid.
func (k *Kustomizations) permitted(obj *Kustomization) error {
	if err := unsupportedInKustomization(obj); err != nil {
		return err
	}
	if d := obj.Spec.Decryption; d != nil && d.ServiceAccountName != "" && !k.Options.Features.On(ObjectLevelWorkloadIdentity) {
		return gateFault(obj, "spec.decryption.serviceAccountName")
	}
	ref := obj.Spec.SourceRef
	if k.Options.NoCrossNamespaceRefs && ref.Namespace != "" && ref.Namespace != obj.Namespace {
		return &fault.Fault{
			Code: "SLU-API-002", Hop: fault.HopAPI, Object: "Kustomization/" + obj.Namespace + "/" + obj.Name,
			Seen: "spec.sourceRef names " + ref.Kind + " '" + ref.Namespace + "/" + ref.Name + "' of another namespace",
			Why:  "cross-namespace references have been blocked by --no-cross-namespace-refs",
			Fix:  "use a source in namespace " + obj.Namespace, Reason: "AccessDenied",
		}
	}
	if ref.Kind == sourcev1.ExternalArtifactKind && !k.Options.Features.On(ExternalArtifact) {
		namespace := ref.Namespace
		if namespace == "" {
			namespace = obj.Namespace
		}
		return &fault.Fault{
			Code: "SLU-API-006", Hop: fault.HopAPI, Object: "Kustomization/" + obj.Namespace + "/" + obj.Name,
			Seen: "can't access '" + ref.Kind + "/" + namespace + "/" + ref.Name + "'",
			Why:  "the ExternalArtifact feature gate is disabled",
			Fix:  "start the controller with --feature-gates=ExternalArtifact=true", Reason: "AccessDenied",
		}
	}
	return nil
}

// serviceAccount is who applies: spec.serviceAccountName, else the default one, else "" for the controller itself.
func (k *Kustomizations) serviceAccount(obj *Kustomization) string {
	if obj.Spec.ServiceAccountName != "" {
		return obj.Spec.ServiceAccountName
	}
	return k.Options.DefaultServiceAccount
}

// sourceState says why a source has no revision. Both texts are empty while the first fetch is under way.
func (k *Kustomizations) sourceState(ctx context.Context, key sourceKey) (why, fix string, err error) {
	if key.Kind != sourcev1.GitRepositoryKind || k.Options.GitRepositories == GitRead {
		if err := k.Revisions.Failure(key); err != nil {
			return "", "", err
		}
		return externalState(ctx, k.Reader, k.Options.GitRepositories, key)
	}
	name := key.NamespacedName
	var repo sourcev1.GitRepository
	if err := k.Get(ctx, name, &repo); err != nil {
		if !apierrors.IsNotFound(err) {
			return "", "", err
		}
		return "GitRepository/" + name.String() + " does not exist",
			"kubectl get gitrepositories -A, and correct spec.sourceRef or add the missing GitRepository", nil
	}
	ready := apimeta.FindStatusCondition(repo.Status.Conditions, meta.ReadyCondition)
	switch {
	case repo.Spec.Suspend:
		return "it is suspended", "flux resume source git " + name.Name + " -n " + name.Namespace, nil
	case ready != nil && ready.Status == "False":
		return ready.Message, "sluice get sources git " + name.Name + " -n " + name.Namespace, nil
	}
	return "", "", nil
}
