package reconcile

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/source"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

const foreigner = "age1lzd99uklcjnc0e7d860axevet2cz99ce9pq6tzuzd05l5nr28ams36nvun"

func TestTheRepositorysRulesAreEnforcedBeforeAnythingIsApplied(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.options.SOPSPolicy = SOPSPolicyEnforce
	w.start()
	sealed := w.ageKey("keys")("apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n  password: " + canary + "\n")
	mine := regexp.MustCompile(`age1[0-9a-z]+`).FindString(sealed)
	rule := func(recipient string) string {
		return "creation_rules:\n  - path_regex: .*\\.yaml\n    encrypted_regex: ^(data|stringData)$\n    age: " + recipient + "\n"
	}
	// SOPS itself opens this one: its MAC doesn't cover the rule.
	narrowed := strings.Replace(sealed, "^(data|stringData)$", "^stringData$", 1)
	w.push(map[string]string{".sops.yaml": rule(mine), "a/db.yaml": narrowed, "a/other.yaml": configMap("beside", "1")})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
	})
	failed := w.until(k, "False", "encrypted_regex")
	for _, text := range []string{"a/db.yaml:", ".sops.yaml:2", "sluice secrets encrypt"} {
		if m := failed.Status.Conditions[0].Message; !strings.Contains(m, text) {
			t.Errorf("the message does not name %q: %s", text, m)
		}
	}
	if _, err := w.configMap("beside"); !apierrors.IsNotFound(err) {
		t.Errorf("something of the refused revision was applied: %v", err)
	}
	w.push(map[string]string{"a/db.yaml": sealed, ".sops.yaml": rule(foreigner)})
	w.until(k, "False", "sealed for age "+mine)

	good := w.push(map[string]string{".sops.yaml": rule(mine)})
	w.until(k, "True", good)
	var s corev1.Secret
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "db"}, &s); err != nil || string(s.Data["password"]) != canary {
		t.Fatalf("Secret db: %d bytes, %v", len(s.Data["password"]), err)
	}

	// The rules are no part of the artifact, and yet an input: a change of them alone is looked at.
	w.push(map[string]string{".sops.yaml": rule(foreigner)})
	w.until(k, "False", "sealed for age "+mine)
	w.push(map[string]string{".sops.yaml": "creation_rules:\n  - encrypted_regexp: x\n"})
	w.until(k, "False", ".sops.yaml:2")
	// The nearest rules count.
	w.push(map[string]string{"a/.sops.yaml": rule(mine)})
	w.until(k, "True", "Applied")
	w.mustNotLeak(canary)

	w.stop()
	w.options.SOPSPolicy = SOPSPolicyWarn
	w.start()
	warned := w.push(map[string]string{"a/.sops.yaml": rule(foreigner)})
	w.until(k, "True", warned)
	testkit.Eventually(t, 10*time.Second, func() error {
		var list corev1.EventList
		if err := w.client.List(t.Context(), &list, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == "SOPSPolicy" && strings.Contains(e.Message, mine) {
				return nil
			}
		}
		return apierrors.NewNotFound(corev1.Resource("events"), "SOPSPolicy")
	})

	w.stop()
	w.options.SOPSPolicy = SOPSPolicyOff
	w.start()
	w.until(k, "True", w.push(map[string]string{"a/db.yaml": narrowed}))
}

func TestDocumentsInEnvFilesAreJudgedUnderTheirOwnName(t *testing.T) {
	g := &guard{tree: source.MapTree(map[string]string{"a/env": "x", "a/b.env": "y"})}
	for name, want := range map[string]string{"a/env.env": "a/env", "a/b.env": "a/b.env", "key-of-a-secret": ""} {
		if got, _ := g.real(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestPoliciesHaveNames(t *testing.T) {
	for _, p := range []SOPSPolicy{SOPSPolicyOff, SOPSPolicyWarn, SOPSPolicyEnforce} {
		var got SOPSPolicy
		if err := got.Set(p.String()); err != nil || got != p {
			t.Errorf("%s: %v, %v", p, got, err)
		}
	}
	if err := new(SOPSPolicy).Set("strict"); err == nil {
		t.Error("an unknown policy is taken")
	}
}
