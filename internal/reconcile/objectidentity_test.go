package reconcile

import (
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/keyring"
)

func TestObjectLevelIdentityIsBehindFluxsGate(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "tenant"}
	})
	got := w.until(k, "False", "--feature-gates=ObjectLevelWorkloadIdentity=true")
	if readyReason(got) != "FeatureGateDisabled" || condition(got, "Stalled").Status != "True" {
		t.Errorf("conditions = %+v", got.Status.Conditions)
	}
}

func TestATenantDecryptsAsItsServiceAccountAndNeverAsTheController(t *testing.T) {
	w := newWorld(t)
	own, err := identity.New(identity.Config{ClientID: "own", TenantID: "own", Assertion: identity.FromFile("none")})
	if err != nil {
		t.Fatal(err)
	}
	k := &Kustomizations{Client: w.client, Reader: w.client, Ring: keyring.New(keyring.Options{}), workload: workload{credential: own}}
	obj := &Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "a"}}
	obj.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "tenant"}
	open := func() *decrypter {
		t.Helper()
		d, err := k.decrypter(t.Context(), obj, true)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	refuses := func(d *decrypter, want string) {
		t.Helper()
		f := fault.From(d.identity.AzureErr)
		if d.identity.Azure != nil || f == nil || f.Hop != fault.HopIdentity || !strings.Contains(f.Error(), want) {
			t.Errorf("identity = %+v, fault %v, want %q", d.identity.Azure, d.identity.AzureErr, want)
		}
	}
	refuses(open(), "kubectl create serviceaccount tenant -n "+w.namespace)

	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "tenant"}}
	w.create(sa)
	refuses(open(), "kubectl annotate serviceaccount -n "+w.namespace+" tenant --overwrite "+annotationClient+"=$(az identity show ")
	patch := func(json string) {
		if err := w.client.Patch(t.Context(), sa, client.RawPatch("application/merge-patch+json", []byte(json))); err != nil {
			t.Fatal(err)
		}
	}
	patch(`{"metadata":{"annotations":{"azure.workload.identity/client-id":"c1"}}}`)
	refuses(open(), "it lacks the annotation azure.workload.identity/tenant-id")
	patch(`{"metadata":{"annotations":{"azure.workload.identity/tenant-id":"t1"}}}`)

	d := open()
	if d.azure == nil || d.azure == own || d.azure.ClientID() != "c1" || d.azure.TenantID() != "t1" {
		t.Fatalf("identity = %+v, %v", d.azure, d.identity.AzureErr)
	}
	claims, err := d.azure.Claims(t.Context())
	if err != nil || claims.Subject != "system:serviceaccount:"+w.namespace+":tenant" || strings.Join(claims.Audience, " ") != azureAudience {
		t.Errorf("claims = %+v, %v", claims, err)
	}
	if again := open(); again.azure != d.azure || again.identity.Name != d.identity.Name {
		t.Error("the same account is another identity at the next reconcile: its tokens and data keys are fetched again")
	}
	patch(`{"metadata":{"annotations":{"azure.workload.identity/client-id":"c2"}}}`)
	if other := open(); other.identity.Name == d.identity.Name {
		t.Error("another client id shares the data keys of the one before")
	}
	obj.Spec.Decryption.ServiceAccountName = ""
	if d := open(); d.azure != own || d.identity.Name != controllerIdentity {
		t.Errorf("without a ServiceAccount it is not the controller that decrypts: %s", d.identity.Name)
	}
	k.Options.DefaultDecryptionServiceAccount = "tenant"
	if d := open(); d.azure == own {
		t.Error("--default-decryption-service-account is not followed")
	}
}
