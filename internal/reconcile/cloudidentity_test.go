package reconcile

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/kms/gcp"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// refusingSTS turns every sign-in away and keeps the Kubernetes token that it was shown last.
type refusingSTS struct {
	mu    sync.Mutex
	token string
}

func (s *refusingSTS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	s.mu.Lock()
	s.token = r.Form.Get("WebIdentityToken") + r.Form.Get("subject_token")
	s.mu.Unlock()
	w.WriteHeader(http.StatusForbidden)
	_, _ = w.Write([]byte(`<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>`))
}

func TestATenantSignsInToAWSAndGoogleAsItsServiceAccountAndNeverAsTheController(t *testing.T) {
	// The controller's own identities, which must not be used.
	t.Setenv("AWS_ACCESS_KEY_ID", "controller")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "controller")
	t.Setenv("VAULT_TOKEN", "controller")
	sts := &refusingSTS{}
	server := httptest.NewServer(sts)
	t.Cleanup(server.Close)
	w := newWorld(t)
	k := &Kustomizations{
		Client: w.client, Reader: w.client, workload: ownWorkload(),
		Ring: keyring.New(keyring.Options{Services: keyring.Services{AWSEndpoint: server.URL, GoogleEndpoint: server.URL}}),
	}
	k.identities.clouds.google = gcp.Endpoints{STS: server.URL, IAMCredentials: server.URL}
	obj := &Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "a"}}
	obj.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "tenant"}
	enc := func(k recipient.Key, enc string) recipient.Key {
		k.SetWrapped([]byte(enc))
		return k
	}
	aws := enc(recipient.NewKMS("arn:aws:kms:eu-central-1:123456789012:key/1", "", nil, ""), "AAAA")
	google := enc(recipient.NewGCPKMS("projects/p/locations/l/keyRings/r/cryptoKeys/k"), "AAAA")
	vault := enc(&recipient.HCVault{VaultAddress: server.URL, EnginePath: "transit", KeyName: "k"}, "vault:v1:AAAA")
	refused := func(key recipient.Key, code, want string) {
		t.Helper()
		d, err := k.decrypter(t.Context(), obj, true)
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.DataKey(t.Context(), &sops.Metadata{KeyGroups: []recipient.Group{{key}}})
		if f := fault.From(err); f == nil || f.Code != code || f.Hop != fault.HopIdentity || !strings.Contains(f.Error(), want) {
			t.Errorf("%v, want %s %s", err, code, want)
		}
	}
	shown := func(audience string) {
		t.Helper()
		claims, err := identity.ParseClaims(sts.token)
		if err != nil || claims.Subject != "system:serviceaccount:"+w.namespace+":tenant" || strings.Join(claims.Audience, " ") != audience {
			t.Errorf("claims = %+v, %v", claims, err)
		}
	}
	refused(aws, "SLU-IDENTITY-091", "kubectl create serviceaccount tenant -n "+w.namespace)
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "tenant"}}
	w.create(sa)
	annotate := func(name, value string) {
		json := `{"metadata":{"annotations":{"` + name + `":"` + value + `"}}}`
		if err := w.client.Patch(t.Context(), sa, client.RawPatch("application/merge-patch+json", []byte(json))); err != nil {
			t.Fatal(err)
		}
	}
	refused(aws, "SLU-IDENTITY-092", "--overwrite "+annotationRole+"=")
	refused(google, "SLU-IDENTITY-093", "--overwrite "+annotationProvider+"=")
	refused(vault, "SLU-IDENTITY-094", "sops.vault-token")
	annotate(annotationRole, "admin")
	refused(aws, "SLU-IDENTITY-092", "it is not the ARN of an IAM role")
	annotate(annotationRole, "arn:aws:iam::123456789012:role/tenant")
	refused(aws, "SLU-IDENTITY-032", "trust policy")
	shown(awsAudience)
	annotate(annotationProvider, "projects/1/locations/global/workloadIdentityPools/p/providers/aks")
	annotate(annotationEmail, "sops@p.iam.gserviceaccount.com")
	refused(google, "SLU-IDENTITY-042", "workload identity pool")
	shown("//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/aks")

	first, err := k.decrypter(t.Context(), obj, true)
	if err != nil {
		t.Fatal(err)
	}
	again, err := k.decrypter(t.Context(), obj, true)
	if err != nil || again.identity.Name != first.identity.Name || again.identity.AWS != first.identity.AWS || again.identity.Google != first.identity.Google {
		t.Errorf("the same account is another identity at the next reconcile (%v)", err)
	}
	annotate(annotationRole, "arn:aws:iam::123456789012:role/other")
	if other, err := k.decrypter(t.Context(), obj, true); err != nil || other.identity.Name == first.identity.Name {
		t.Errorf("another role shares the data keys of the one before (%v)", err)
	}
}
