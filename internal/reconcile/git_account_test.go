package reconcile

import (
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
)

func TestARepositoryWithAServiceAccountIsBehindFluxsGate(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	w.repository("app", func(s *sourcev1.GitRepositorySpec) {
		s.URL, s.Provider, s.ServiceAccountName = "https://dev.azure.com/org/project/_git/app", "azure", "tenant"
	})
	got := w.untilSource("app", "False", "FeatureGateDisabled", "--feature-gates=ObjectLevelWorkloadIdentity=true")
	if !apimeta.IsStatusConditionTrue(got.Status.Conditions, meta.StalledCondition) {
		t.Errorf("conditions = %+v", got.Status.Conditions)
	}
}

func TestARepositoryIsFetchedAsItsServiceAccountAndNeverAsTheController(t *testing.T) {
	w := newWorld(t)
	own := &fakeCredential{}
	g := newGitRepositories(w.client, w.client, NewRevisions(), &Artifacts{Dir: t.TempDir()}, t.TempDir())
	g.cloud.azure = func() (azcore.TokenCredential, error) { return own, nil }
	g.Features = Features{ObjectLevelWorkloadIdentity: true}
	repo := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}}
	repo.Spec.URL, repo.Spec.Provider, repo.Spec.ServiceAccountName = "https://dev.azure.com/o/p/_git/r", "azure", "tenant"

	_, err := g.azureToken(t.Context(), repo)
	if err == nil || !strings.Contains(err.Error(), "kubectl create serviceaccount tenant -n "+w.namespace+", or correct spec.serviceAccountName") || len(own.scopes) > 0 {
		t.Errorf("without the account: %v, the controller was asked for %v", err, own.scopes)
	}
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "tenant",
		Annotations: map[string]string{annotationClient: "c1", annotationTenant: "t1"}}})
	credential, err := g.credential(t.Context(), repo)
	if err != nil {
		t.Fatal(err)
	}
	workload, ok := credential.(*identity.Workload)
	if !ok || workload.ClientID() != "c1" || workload.TenantID() != "t1" {
		t.Fatalf("credential = %+v", credential)
	}
	claims, err := workload.Claims(t.Context())
	if err != nil || claims.Subject != "system:serviceaccount:"+w.namespace+":tenant" || strings.Join(claims.Audience, " ") != azureAudience {
		t.Errorf("claims = %+v, %v", claims, err)
	}
	if again, err := g.credential(t.Context(), repo); err != nil || again != credential {
		t.Errorf("the same account signs in anew at the next fetch: %v", err)
	}
	repo.Spec.ServiceAccountName, g.DefaultAccount = "", "tenant"
	if c, err := g.credential(t.Context(), repo); err != nil || c != credential {
		t.Errorf("--default-source-service-account is not followed: %v", err)
	}
	g.DefaultAccount = ""
	if c, err := g.credential(t.Context(), repo); err != nil || c != azcore.TokenCredential(own) {
		t.Errorf("without an account it is not the controller that signs in: %v", err)
	}
}
