package reconcile

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// jwtVault answers as Vault's login of a JWT-backed auth method and its transit engine do. It knows one role.
type jwtVault struct {
	mu      sync.Mutex
	role    string
	logins  []string // subject, audience and role of each
	revoked bool     // the tokens so far
	key     []byte
}

func (v *jwtVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var in struct{ JWT, Role string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	switch {
	case r.URL.Path == "/v1/team/auth/kubernetes/login":
		claims, err := identity.ParseClaims(in.JWT)
		if err != nil {
			http.Error(w, `{"errors":["no JWT"]}`, http.StatusBadRequest)
			return
		}
		v.logins = append(v.logins, claims.Subject+" "+strings.Join(claims.Audience, ",")+" "+in.Role)
		if in.Role != v.role {
			http.Error(w, `{"errors":["invalid role name \"CANARY\""]}`, http.StatusBadRequest)
			return
		}
		v.revoked = false
		_, _ = w.Write([]byte(`{"auth":{"client_token":"issued","lease_duration":600}}`))
	case r.URL.Path == "/v1/transit/decrypt/k" && r.Header.Get("X-Vault-Token") == "issued" && !v.revoked:
		_, _ = w.Write([]byte(`{"data":{"plaintext":"` + base64.StdEncoding.EncodeToString(v.key) + `"}}`))
	default:
		http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
	}
}

func TestVaultIsSignedInToAsTheServiceAccountWhereTheConfigMapSaysSo(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "controller") // must not be used
	vault := &jwtVault{key: []byte(strings.Repeat("k", 32))}
	server := httptest.NewServer(vault)
	t.Cleanup(server.Close)
	w := newWorld(t)
	config := types.NamespacedName{Namespace: w.namespace, Name: "sops-vault-config"}
	signIn := vaultSignIn{w.client, config}
	k := &Kustomizations{Client: w.client, Reader: w.client, workload: ownWorkload(), Ring: keyring.New(keyring.Options{}), keys: newKeys(w.client)}
	k.workload.clouds.Vault, k.workload.clouds.VaultErr = signIn.own(w.client), nil
	k.identities.clouds.vault = signIn
	obj := &Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "a"}}
	obj.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "tenant"}
	ask := func(address, enc string) error {
		t.Helper()
		d, err := k.decrypter(t.Context(), obj, true)
		if err != nil {
			t.Fatal(err)
		}
		key := &recipient.HCVault{VaultAddress: address, EnginePath: "transit", KeyName: "k"}
		key.SetWrapped([]byte("vault:v1:" + enc))
		got, err := d.DataKey(t.Context(), &sops.Metadata{KeyGroups: []recipient.Group{{key}}})
		if err == nil && string(got) != string(vault.key) {
			t.Errorf("another data key: %q", got)
		}
		return err
	}
	refused := func(err error, code, want string) {
		t.Helper()
		if f := fault.From(err); f == nil || f.Code != code || !strings.Contains(f.Error(), want) || strings.Contains(f.Error(), "CANARY") {
			t.Errorf("%v, want %s %s", err, code, want)
		}
	}
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "tenant"}})
	refused(ask(server.URL, "AAAA"), "SLU-IDENTITY-095", "kubectl get configmap sops-vault-config")
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: config.Name}, Data: map[string]string{"config.yaml": "instances: {}"}}
	w.create(cm)
	refused(ask(server.URL, "AAAA"), "SLU-IDENTITY-096", "loginPath: auth/kubernetes/login")
	cm.Data["config.yaml"] = "instances:\n- address: " + server.URL + "\n  loginPath: team/auth/kubernetes/login\n"
	if err := w.client.Update(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	refused(ask(server.URL, "AAAA"), "SLU-KEY-025", "role/"+w.namespace+"_tenant")
	refused(ask("http://localhost:1", "AAAA"), "SLU-KEY-024", "sops-vault-config")
	vault.mu.Lock()
	vault.role, vault.logins = w.namespace+"_tenant", nil
	vault.mu.Unlock()
	for _, enc := range []string{"AAAA", "BBBB", "CCCC"} { // three documents, one sign-in
		if err := ask(server.URL, enc); err != nil {
			t.Fatal(err)
		}
	}
	if want := "system:serviceaccount:" + w.namespace + ":tenant " + server.URL + " " + w.namespace + "_tenant"; len(vault.logins) != 1 || vault.logins[0] != want {
		t.Errorf("logins = %q, want one of %q", vault.logins, want)
	}
	// A token that is refused is not shown again: the next document signs in anew.
	vault.mu.Lock()
	vault.revoked = true
	vault.mu.Unlock()
	if err := ask(server.URL, "DDDD"); err == nil {
		t.Error("a revoked token opened")
	}
	if err := ask(server.URL, "DDDD"); err != nil || len(vault.logins) != 2 {
		t.Errorf("after %d logins: %v", len(vault.logins), err)
	}
	// Without spec.decryption.serviceAccountName the controller signs in as who it is, here no ServiceAccount.
	obj.Spec.Decryption.ServiceAccountName = ""
	refused(ask(server.URL, "AAAA"), "SLU-IDENTITY-097", "no ServiceAccount")
	// A static token comes first.
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "keys"}, Data: map[string][]byte{"sops.vault-token": []byte("static"), "sops.vault-address": []byte(server.URL)}})
	obj.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "tenant"}
	obj.Spec.Decryption.SecretRef = &meta.LocalObjectReference{Name: "keys"}
	if err := ask(server.URL, "AAAA"); err == nil || len(vault.logins) != 2 {
		t.Errorf("the Secret's token was passed over, %d logins: %v", len(vault.logins), err)
	}
}
