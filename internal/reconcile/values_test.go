package reconcile

import (
	"encoding/base64"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestSealedValuesAreOpenedAndWhatIsMarkedIsLeft(t *testing.T) {
	w := newWorld(t)
	seal := w.ageKey("keys")
	document := seal("data:\n  password: " + canary + "\n")
	secret := "apiVersion: v1\nkind: Secret\nmetadata:\n  name: NAME\n  annotations: {x: y}\ndata:\n  app.yaml: " +
		base64.StdEncoding.EncodeToString([]byte(document)) + "\n"
	marked := strings.NewReplacer("NAME", "marked", "x: y", "kustomize.toolkit.fluxcd.io/decrypt: disabled").Replace(secret)
	w.push(map[string]string{"a/opened.yaml": strings.Replace(secret, "NAME", "opened", 1), "a/marked.yaml": marked})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
	})
	w.until(k, "True", "Applied")
	value := func(name string) string {
		t.Helper()
		var s corev1.Secret
		if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &s); err != nil {
			t.Fatal(err)
		}
		return string(s.Data["app.yaml"])
	}
	if got := value("opened"); !strings.Contains(got, canary) || strings.Contains(got, "ENC[") {
		t.Error("the value was not opened")
	}
	if value("marked") != document {
		t.Error("the marked Secret was changed")
	}
	w.mustNotLeak(canary)
}
