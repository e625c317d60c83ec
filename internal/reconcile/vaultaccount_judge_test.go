//go:build judges

package reconcile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/testkit/realvault"
)

// tokenKeys are the keys that the API server signs ServiceAccounts' tokens with, as Vault's jwt method takes them.
func tokenKeys(t *testing.T, w *world) []string {
	t.Helper()
	clientset, err := kubernetes.NewForConfig(w.options.Config)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := clientset.RESTClient().Get().AbsPath("/openid/v1/jwks").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []struct{ X, Y string } }
	if err := json.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, k := range set.Keys { // all of P-256
		x, errX := base64.RawURLEncoding.DecodeString(k.X)
		y, errY := base64.RawURLEncoding.DecodeString(k.Y)
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		if errX != nil || errY != nil || err != nil {
			t.Fatal(errX, errY, err)
		}
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	}
	if len(keys) == 0 {
		t.Fatal("the API server publishes no key")
	}
	return keys
}

// A real API server's token is exchanged at a real Vault's jwt method, by the ConfigMap of --sops-vault-configmap.
func TestJudgeVaultSignsAServiceAccountIn(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "controller") // must not be used
	s, w := realvault.Start(t), newWorld(t)
	config := types.NamespacedName{Namespace: w.namespace, Name: "sops-vault-config"}
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: config.Name},
		Data: map[string]string{vaultConfigEntry: "instances:\n- address: " + s.Address + "\n  loginPath: auth/jwt/login\n"}})
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "tenant"}})
	dataKey := strings.Repeat("k", 32)
	sealed := s.Write(t, "transit/encrypt/sops", map[string]any{"plaintext": base64.StdEncoding.EncodeToString([]byte(dataKey))})
	enc, _ := sealed["data"].(map[string]any)["ciphertext"].(string)
	k := &Kustomizations{Client: w.client, Reader: w.client, workload: ownWorkload(), keys: newKeys(w.client)}
	k.identities.clouds.vault = vaultSignIn{w.client, config}
	obj := &Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "a"}}
	obj.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "tenant"}
	ask := func() error {
		t.Helper()
		k.Ring = keyring.New(keyring.Options{}) // nothing is in memory
		d, err := k.decrypter(t.Context(), obj, true)
		if err != nil {
			t.Fatal(err)
		}
		key := &recipient.HCVault{VaultAddress: s.Address, EnginePath: "transit", KeyName: "sops"}
		key.SetWrapped([]byte(enc))
		got, err := d.DataKey(t.Context(), &sops.Metadata{KeyGroups: []recipient.Group{{key}}})
		if err == nil && string(got) != dataKey {
			t.Errorf("another data key: %q", got)
		}
		return err
	}
	role := "auth/jwt/role/" + w.namespace + "_tenant"
	subject := "system:serviceaccount:" + w.namespace + ":tenant"
	bind := func(subject, audience string) {
		t.Helper()
		s.Write(t, role, map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_subject": subject, "bound_audiences": []string{audience}, "token_policies": []string{"sops-decrypt"}})
	}
	refused := func(why string) {
		t.Helper()
		f := fault.From(ask())
		if f == nil || f.Code != "SLU-KEY-025" || !strings.Contains(f.Why, why) || strings.Contains(f.Multiline(), "eyJ") {
			t.Fatalf("got %+v, want SLU-KEY-025, %q", f, why)
		}
	}
	refused("no auth method is mounted there")
	s.Write(t, "sys/auth/jwt", map[string]any{"type": "jwt"})
	refused("nobody has configured it")
	s.Write(t, "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": tokenKeys(t, w)})
	refused("the role does not exist")
	// The fix of a missing role is one: its fields are what Vault asks for.
	want := "vault write -address=" + s.Address + " " + role + " role_type=jwt user_claim=sub bound_subject=" + subject + " bound_audiences=" + s.Address + " token_policies=sops-decrypt"
	if f := fault.From(ask()); f.Fix != want {
		t.Errorf("fix %q\nwant %q", f.Fix, want)
	}
	bind(subject, "https://elsewhere.test")
	refused("the role's audience")
	bind("system:serviceaccount:other:tenant", s.Address)
	refused("bound to another subject")
	bind(subject, s.Address)
	if f := fault.From(ask()); f == nil || f.Code != "SLU-VAULT-020" {
		t.Errorf("without a policy: %+v", f)
	}
	s.Policy(t, "sops-decrypt", "transit/decrypt/sops")
	if err := ask(); err != nil {
		t.Fatal(err)
	}
}
