package reconcile

import (
	"context"
	"strings"
	"sync"

	"golang.org/x/oauth2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/kms/aws"
	"github.com/sluice-gitops/sluice/internal/kms/gcp"
)

// Annotations by which Flux, EKS and GKE say who a ServiceAccount is in AWS and at Google.
const (
	annotationRole     = "eks.amazonaws.com/role-arn"
	annotationEmail    = "iam.gke.io/gcp-service-account"
	annotationProvider = "gcp.auth.fluxcd.io/workload-identity-provider"
	awsAudience        = "sts.amazonaws.com"
)

// accountClouds holds the AWS and Google identities of ServiceAccounts, by partition, so that each keeps its session from
// one reconcile to the next.
type accountClouds struct {
	google gcp.Endpoints // the zero value: Google's own
	vault  vaultSignIn

	mu    sync.Mutex
	known map[string]keyring.Clouds
}

// cloudName is what a ServiceAccount's annotations add to its partition's name.
func cloudName(sa *corev1.ServiceAccount) string {
	a := sa.Annotations
	return "@" + string(sa.UID) + "|" + strings.Join([]string{a[annotationRole], a[annotationProvider], a[annotationEmail]}, "|")
}

// of returns the ways of a ServiceAccount to AWS and Google. Where it has none, the error says which annotation it lacks;
// there is no falling back to the controller's identity. The tokens are the account's own, by TokenRequest.
func (c *accountClouds) of(name string, sa *corev1.ServiceAccount, request func(ctx context.Context, audience string) (string, error)) keyring.Clouds {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.known[name]; ok {
		return known
	}
	key := types.NamespacedName{Namespace: sa.Namespace, Name: sa.Name}
	var out keyring.Clouds
	out.AWS, out.AWSErr = awsOf(key, sa, request)
	out.Google, out.GoogleErr = googleOf(key, sa, c.google, request)
	out.Vault, out.VaultErr = c.vault.of(key, request)
	if c.known == nil || len(c.known) >= maxIdentities {
		c.known = map[string]keyring.Clouds{}
	}
	c.known[name] = out
	return out
}

func awsOf(key types.NamespacedName, sa *corev1.ServiceAccount, request func(context.Context, string) (string, error)) (*aws.Credentials, error) {
	annotate := "kubectl annotate serviceaccount " + key.Name + " -n " + key.Namespace + " --overwrite " + annotationRole + "=<role ARN>"
	role := sa.Annotations[annotationRole]
	if role == "" {
		return nil, accountFault("SLU-IDENTITY-092", key, "it lacks the annotation "+annotationRole, "AWS cannot be asked for a session without knowing whose", annotate)
	}
	creds, err := aws.WebIdentity(role, key.Name+"."+key.Namespace+".sluice", func(ctx context.Context) (string, error) { return request(ctx, awsAudience) })
	if err != nil {
		return nil, accountFault("SLU-IDENTITY-092", key, "its annotation "+annotationRole+" cannot be used", err.Error(), annotate)
	}
	return creds, nil
}

func googleOf(key types.NamespacedName, sa *corev1.ServiceAccount, e gcp.Endpoints, request func(context.Context, string) (string, error)) (oauth2.TokenSource, error) {
	annotate := "kubectl annotate serviceaccount " + key.Name + " -n " + key.Namespace + " --overwrite " + annotationProvider + "=<provider>"
	who := gcp.Federated{Provider: sa.Annotations[annotationProvider], Email: sa.Annotations[annotationEmail]}
	if who.Provider == "" {
		return nil, accountFault("SLU-IDENTITY-093", key, "it lacks the annotation "+annotationProvider,
			"Google cannot be asked for a token without knowing which pool trusts this cluster", annotate)
	}
	audience, err := who.Audience()
	if err == nil {
		who.Token = func(ctx context.Context) (string, error) { return request(ctx, audience) }
		var src oauth2.TokenSource
		if src, err = who.Source(e); err == nil {
			return src, nil
		}
	}
	return nil, accountFault("SLU-IDENTITY-093", key, "its annotations "+annotationProvider+" and "+annotationEmail+" cannot be used", err.Error(), annotate)
}
