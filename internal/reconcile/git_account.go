package reconcile

import (
	"cmp"
	"context"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/kms/aws"
)

// tokenOperation is what Flux's metrics call the fetching of a source.
const tokenOperation = "reconcile"

func involvedRepository(obj *sourcev1.GitRepository) involved {
	return involved{sourcev1.GitRepositoryKind, obj.Namespace, obj.Name, tokenOperation}
}

// credential returns who signs in to the repository's cloud: the ServiceAccount that the object names, that of
// --default-source-service-account, else the controller. A named account is never replaced by another.
func (g *GitRepositories) credential(ctx context.Context, obj *sourcev1.GitRepository) (azcore.TokenCredential, error) {
	key, err := g.account(obj)
	if err != nil {
		return nil, err
	}
	if key.Name == "" {
		return g.cloud.azure()
	}
	_, w, err := g.identities.account(ctx, g.Secrets, g.Client, key, "spec.serviceAccountName")
	if err != nil {
		return nil, err
	}
	return w, nil
}

// account names the ServiceAccount that signs in to the repository's cloud; its name is empty where it is the controller.
func (g *GitRepositories) account(obj *sourcev1.GitRepository) (types.NamespacedName, error) {
	key := types.NamespacedName{Namespace: obj.Namespace, Name: cmp.Or(obj.Spec.ServiceAccountName, g.DefaultAccount)}
	if key.Name == "" || g.Features.On(ObjectLevelWorkloadIdentity) {
		return key, nil
	}
	return key, gitStepFault(obj, "SLU-API-004", meta.FeatureGateDisabledReason, "spec.serviceAccountName is set",
		"the feature gate ObjectLevelWorkloadIdentity is not enabled in the controller",
		"start the controller with --feature-gates=ObjectLevelWorkloadIdentity=true", nil)
}

// awsCredentials is credential for AWS.
func (g *GitRepositories) awsCredentials(ctx context.Context, obj *sourcev1.GitRepository) (*aws.Credentials, error) {
	key, err := g.account(obj)
	if err != nil {
		return nil, err
	}
	if key.Name == "" {
		return g.cloud.aws()
	}
	sa, err := readAccount(ctx, g.Secrets, key, "spec.serviceAccountName")
	if err != nil {
		return nil, err
	}
	c := g.identities.clouds.of("source/"+key.String()+cloudName(sa), sa, func(ctx context.Context, audience string) (string, error) {
		token, _, err := requestToken(ctx, g.Client, key, []string{audience})
		return token, err
	})
	return c.AWS, c.AWSErr
}

// codeCommit signs in to AWS CodeCommit, and to nobody else, as Flux does.
func (g *GitRepositories) codeCommit(ctx context.Context, obj *sourcev1.GitRepository) (user, password string, err error) {
	u, err := url.Parse(obj.Spec.URL)
	if err != nil || !aws.IsCodeCommit(u) {
		return "", "", gitStepFault(obj, "SLU-GIT-024", sourcev1.InvalidProviderConfigurationReason,
			"spec.provider is aws and spec.url is no https address of AWS CodeCommit", "its password is sent to git-codecommit.<region>.amazonaws.com alone",
			"correct spec.url, or set spec.provider: generic", nil)
	}
	creds, err := g.awsCredentials(ctx, obj)
	if err == nil {
		user, password, err = creds.GitPassword(ctx, u, aws.Options{Endpoint: g.cloud.sts})
	}
	if err != nil {
		return "", "", withReason(err, sourcev1.AuthenticationFailedReason)
	}
	return user, password, nil
}
