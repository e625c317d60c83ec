package reconcile

import (
	"cmp"
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tokenOperation is what Flux's metrics call the fetching of a source.
const tokenOperation = "reconcile"

func involvedRepository(obj *sourcev1.GitRepository) involved {
	return involved{sourcev1.GitRepositoryKind, obj.Namespace, obj.Name, tokenOperation}
}

// credential returns who signs in to the repository's cloud: the ServiceAccount that the object names, that of
// --default-source-service-account, else the controller. A named account is never replaced by another.
func (g *GitRepositories) credential(ctx context.Context, obj *sourcev1.GitRepository) (azcore.TokenCredential, error) {
	account := cmp.Or(obj.Spec.ServiceAccountName, g.DefaultAccount)
	if account == "" {
		return g.cloud.azure()
	}
	if !g.Features.On(ObjectLevelWorkloadIdentity) {
		return nil, gitStepFault(obj, "SLU-API-004", meta.FeatureGateDisabledReason, "spec.serviceAccountName is set",
			"the feature gate ObjectLevelWorkloadIdentity is not enabled in the controller",
			"start the controller with --feature-gates=ObjectLevelWorkloadIdentity=true", nil)
	}
	key := types.NamespacedName{Namespace: obj.Namespace, Name: account}
	_, w, err := g.identities.account(ctx, g.Secrets, g.Client, key, "spec.serviceAccountName")
	if err != nil {
		return nil, err
	}
	return w, nil
}
