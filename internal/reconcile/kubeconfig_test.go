package reconcile

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

func TestAKubeconfigOfATenantMayNotReachIntoTheController(t *testing.T) {
	whole := func(cluster, user string) string {
		return "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n" +
			"clusters: [{name: x, cluster: {server: 'https://127.0.0.1:1'" + cluster + "}}]\nusers: [{name: x, user: {" + user + "}}]\n"
	}
	for _, tt := range []struct{ name, text, want string }{
		{"exec", whole("", "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/sh, interactiveMode: Never}"), "exec"},
		{"auth provider", whole("", "auth-provider: {name: oidc}"), "auth-provider"},
		{"token file", whole("", "tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token"), "file names"},
		{"key file", whole("", "client-key: /etc/passwd"), "file names"},
		{"CA file", whole(", certificate-authority: /etc/passwd", "token: x"), "certificate-authority-data"},
		{"no TLS check", whole(", insecure-skip-tls-verify: true", "token: x"), "--insecure-kubeconfig-tls"},
		{"no context", "apiVersion: v1\nkind: Config\n", "current-context"},
		{"no YAML", canary + ": [", "no kubeconfig"},
		{"good", whole("", "token: x"), ""},
	} {
		k := &Kustomizations{}
		_, err := k.parseKubeConfig([]byte(tt.text))
		switch {
		case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		case err != nil && strings.Contains(err.Error(), canary):
			t.Errorf("%s: the error quotes the Secret: %v", tt.name, err)
		}
	}
	k := &Kustomizations{Options: Options{InsecureKubeConfigTLS: true}}
	if cfg, err := k.parseKubeConfig([]byte(whole(", insecure-skip-tls-verify: true", "token: x"))); err != nil || !cfg.Insecure {
		t.Errorf("--insecure-kubeconfig-tls: %v", err)
	}
}

func TestAKubeconfigSaysWhereAndAServiceAccountAsWhom(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	w.source()
	text, err := os.ReadFile(testkit.Cluster(t).Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "remote"}}
	secret.Data = map[string][]byte{"value.yaml": []byte(strings.Replace(string(text), "server: https://127.0.0.1:", "server: https://127.0.0.1:1", 1))}
	if string(secret.Data["value.yaml"]) == string(text) {
		t.Fatalf("the kubeconfig has another shape:\n%s", text)
	}
	w.create(secret)
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "remote"}}
		s.ServiceAccountName = "deployer"
	})
	w.until(k, "False", "127.0.0.1:1") // it is not our own connection that is used

	secret.Data["value.yaml"] = text
	if err := w.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.poke(k)
	w.until(k, "False", "system:serviceaccount:"+w.namespace+":deployer")
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "deployer"}})
	w.grant("deployer")
	w.poke(k)
	w.until(k, "True", "Applied")
	if _, err := w.configMap("one"); err != nil {
		t.Error(err)
	}

	// Without the kubeconfig nothing can be deleted there any more: the objects stay, the Kustomization goes.
	if err := w.client.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Delete(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(k), &Kustomization{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("Kustomization: %v", err)
		}
		return nil
	})
	if _, err := w.configMap("one"); err != nil {
		t.Error(err)
	}
}

func TestTheGenericProviderSignsInWithATokenOfTheNamedServiceAccount(t *testing.T) {
	w := newWorld(t)
	env := testkit.Cluster(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "remote"}}
	w.create(account)
	w.grant("remote")
	req := &authenticationv1.TokenRequest{}
	if err := w.client.SubResource("token").Create(t.Context(), account, req); err != nil {
		t.Fatal(err)
	}
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "remote"}, Data: map[string]string{
		"provider": "generic", "address": env.Config.Host, "ca.crt": string(env.Config.CAData), "serviceAccountName": "remote",
		"audiences": strings.Join(req.Spec.Audiences, "\n"),
	}})
	w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.KubeConfig = &meta.KubeConfigReference{ConfigMapRef: &meta.LocalObjectReference{Name: "remote"}}
	})
	if got := w.until(k, "False", "--feature-gates=ObjectLevelWorkloadIdentity=true"); readyReason(got) != "FeatureGateDisabled" {
		t.Errorf("reason = %s", readyReason(got))
	}
	w.stop()
	w.options.Features = Features{ObjectLevelWorkloadIdentity: true}
	w.start()
	w.until(k, "True", "Applied")
	if _, err := w.configMap("one"); err != nil {
		t.Error(err)
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "remote"}}
	if err := w.client.Patch(t.Context(), cm, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"provider":"oci"}}`))); err != nil {
		t.Fatal(err)
	}
	w.poke(k)
	w.until(k, "False", `provider "oci" is none of generic, aws, azure and gcp`)
}

// grant lets a ServiceAccount of the world's namespace do everything there.
func (w *world) grant(account string) {
	w.t.Helper()
	w.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: account},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: account}},
	})
}
