package reconcile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

func TestARevisionIsAppliedFollowedAndPruned(t *testing.T) {
	w := newWorld(t)
	first := w.push(map[string]string{"a/one.yaml": configMap("one", "1"), "a/two.yaml": configMap("two", "2")})
	w.source()
	k := w.kustomization("a", nil)
	got := w.until(k, "True", "Applied revision: "+first)
	if got.Status.LastAppliedRevision != first || got.Status.LastAttemptedRevision != first || got.Status.ObservedGeneration != got.Generation {
		t.Errorf("status = %+v", got.Status)
	}
	if n := len(got.Status.Inventory.Entries); n != 2 {
		t.Errorf("inventory holds %d entries, want 2", n)
	}
	cm, err := w.configMap("one")
	if err != nil || cm.Data["key"] != "1" || cm.Labels["kustomize.toolkit.fluxcd.io/name"] != "a" {
		t.Errorf("ConfigMap one = %+v, %v", cm, err)
	}

	second := w.push(map[string]string{"a/one.yaml": configMap("one", "changed"), "a/two.yaml": ""})
	w.until(k, "True", second)
	if cm, err := w.configMap("one"); err != nil || cm.Data["key"] != "changed" {
		t.Errorf("ConfigMap one = %v, %v", cm.Data, err)
	}
	if _, err := w.configMap("two"); !apierrors.IsNotFound(err) {
		t.Errorf("ConfigMap two was not pruned: %v", err)
	}

	if err := w.client.Delete(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if _, err := w.configMap("one"); !apierrors.IsNotFound(err) {
			return fmt.Errorf("ConfigMap one: %v", err)
		}
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(k), &Kustomization{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("Kustomization: %v", err)
		}
		return nil
	})
}

func TestARevisionThatChangesNothingForAKustomizationCostsOneStatusWrite(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "1"), "b/other.yaml": configMap("other", "1")})
	w.source()
	a := w.kustomization("a", nil)
	before := w.until(a, "True", "Applied")
	cm, err := w.configMap("one")
	if err != nil {
		t.Fatal(err)
	}
	rev := w.push(map[string]string{"b/other.yaml": configMap("other", "2")})
	after := w.until(a, "True", rev)
	again, err := w.configMap("one")
	if err != nil || again.ResourceVersion != cm.ResourceVersion {
		t.Errorf("ConfigMap one was written: %v", err)
	}
	writes := 0
	for _, m := range after.ManagedFields {
		if m.Manager == statusFieldManager && m.Subresource == "status" {
			writes++
		}
	}
	if before.Generation != after.Generation || writes != 1 {
		t.Errorf("%d status managers", writes)
	}
	if strings.Contains(w.log.String(), `"revision":"`+rev+`","duration"`) {
		t.Error("the untouched Kustomization was rendered again")
	}
}

func TestSecretsAreOpenedInMemoryAndTamperingIsRefused(t *testing.T) {
	w := newWorld(t)
	seal := w.ageKey("keys")
	sealed := seal("apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n  password: " + canary + "\n")
	w.push(map[string]string{"a/db.yaml": sealed})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
	})
	w.until(k, "True", "Applied")
	var s corev1.Secret
	key := client.ObjectKey{Namespace: w.namespace, Name: "db"}
	if err := w.client.Get(t.Context(), key, &s); err != nil || string(s.Data["password"]) != canary {
		t.Fatalf("Secret db = %d bytes, %v", len(s.Data["password"]), err)
	}

	good := w.push(nil)
	w.until(k, "True", good)
	w.push(map[string]string{"a/db.yaml": strings.Replace(sealed, "name: db", "name: dc", 1)})
	failed := w.until(k, "False", "MAC")
	if failed.Status.LastAppliedRevision != good {
		t.Errorf("lastAppliedRevision = %s, want the last good one", failed.Status.LastAppliedRevision)
	}
	if err := w.client.Get(t.Context(), key, &s); err != nil {
		t.Errorf("the last good state is gone: %v", err)
	}
	w.push(map[string]string{"a/db.yaml": sealed})
	w.until(k, "True", "Applied")

	// The API server quotes what it refuses. Nothing of that may be passed on.
	w.push(map[string]string{"a/db.yaml": seal("apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\ndata:\n  password: '" + canary + "!'\n")})
	w.until(k, "False", "Secret")
	w.mustNotLeak(canary)
}

// mustNotLeak looks for a value in the log, the events and the status of everything in the namespace.
func (w *world) mustNotLeak(value string) {
	w.t.Helper()
	if strings.Contains(w.log.String(), value) {
		w.t.Error("the log holds the value")
	}
	for _, list := range []client.ObjectList{&corev1.EventList{}, &KustomizationList{}, &sourcev1.GitRepositoryList{}} {
		if err := w.client.List(w.t.Context(), list, client.InNamespace(w.namespace)); err != nil {
			w.t.Fatal(err)
		}
		text, err := yaml.Marshal(list)
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.Contains(string(text), value) {
			w.t.Errorf("%T holds the value", list)
		}
	}
}

func TestEachFailureNamesItsHopAndKeepsTheLastGoodState(t *testing.T) {
	w := newWorld(t)
	seal := w.ageKey("keys")
	w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	w.source()
	k := w.kustomization("a", nil)
	w.until(k, "True", "Applied")
	for _, tt := range []struct {
		name, file, reason, want string
	}{
		{"yaml", "apiVersion: v1\nkind: [ConfigMap\n", "BuildFailed", "render"},
		{"kind", "apiVersion: nosuch.example.com/v1\nkind: Nope\nmetadata:\n  name: x\n", "ReconciliationFailed", "apply"},
		{"field", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\ndata:\n  key: [1]\n", "ReconciliationFailed", "apply"},
		{"sealed", seal("apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\nstringData:\n  key: value\n"), "BuildFailed", "sops"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.t = t
			w.push(map[string]string{"a/bad.yaml": tt.file})
			got := w.until(k, "False", tt.want)
			if r := readyReason(got); r != tt.reason {
				t.Errorf("reason = %s, want %s", r, tt.reason)
			}
			if !strings.Contains(readyMessage(got), "; fix: ") {
				t.Errorf("no fix in %q", readyMessage(got))
			}
			if cm, err := w.configMap("one"); err != nil || cm.Data["key"] != "1" {
				t.Errorf("the last good state is gone: %v", err)
			}
			w.push(map[string]string{"a/bad.yaml": ""})
			w.until(k, "True", "Applied")
		})
	}
	w.t = t

	missing := w.kustomization("nosuch", nil)
	if got := w.until(missing, "False", "nosuch"); readyReason(got) != "ArtifactFailed" {
		t.Errorf("a missing path gives %s", readyReason(got))
	}
	blocked := w.kustomization("b", func(s *kustomizev1.KustomizationSpec) {
		s.Path, s.DependsOn = "./a", []kustomizev1.DependencyReference{{Name: "nosuch"}}
	})
	if got := w.until(blocked, "False", "dependency"); readyReason(got) != "DependencyNotReady" {
		t.Errorf("a failing dependency gives %s", readyReason(got))
	}
	orphan := w.kustomization("c", func(s *kustomizev1.KustomizationSpec) { s.SourceRef.Name = "nosource" })
	if got := w.until(orphan, "False", "does not exist"); readyReason(got) != "ArtifactFailed" {
		t.Errorf("a missing source gives %s", readyReason(got))
	}
}

func readyReason(k *Kustomization) string { return ready(k).Reason }

func readyMessage(k *Kustomization) string { return ready(k).Message }

func ready(k *Kustomization) metav1.Condition {
	for _, c := range k.Status.Conditions {
		if c.Type == "Ready" {
			return c
		}
	}
	return metav1.Condition{}
}

func TestADependentFollowsItsDependencyWithoutPolling(t *testing.T) {
	w := newWorld(t)
	w.options.RequeueDependency = time.Hour
	w.stop()
	w.start()
	w.push(map[string]string{"base/one.yaml": configMap("one", "1"), "app/two.yaml": configMap("two", "2")})
	app := w.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.DependsOn = []kustomizev1.DependencyReference{{Name: "base"}}
	})
	w.source()
	w.until(app, "False", "dependency")
	w.kustomization("base", nil)
	w.until(app, "True", "Applied")
	rev := w.push(map[string]string{"app/two.yaml": configMap("two", "3")})
	w.until(app, "True", rev)
}

func TestARestartTakesOverWithoutWriting(t *testing.T) {
	w := newWorld(t)
	rev := w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	w.source()
	k := w.kustomization("a", nil)
	before := w.until(k, "True", rev)
	cm, err := w.configMap("one")
	if err != nil {
		t.Fatal(err)
	}
	w.stop()
	w.start()
	rev = w.push(map[string]string{"elsewhere": "x"})
	after := w.until(k, "True", rev)
	again, err := w.configMap("one")
	if err != nil || again.ResourceVersion != cm.ResourceVersion {
		t.Errorf("the restart wrote the ConfigMap: %v", err)
	}
	if len(after.Status.Inventory.Entries) != len(before.Status.Inventory.Entries) {
		t.Error("the inventory changed")
	}
}

func TestSuspendedAndForeignThingsAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "1"), "b/one.yaml": configMap("one", "1")})
	w.source()
	a := w.kustomization("a", nil)
	w.until(a, "True", "Applied")

	// b claims a's object; deleting a must then leave it to b.
	b := w.kustomization("b", nil)
	w.until(b, "True", "Applied")
	if err := w.client.Delete(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(a), &Kustomization{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("a: %v", err)
		}
		return nil
	})
	if _, err := w.configMap("one"); err != nil {
		t.Errorf("deleting a took b's object along: %v", err)
	}

	got := w.until(b, "True", "Applied")
	got.Spec.Suspend = true
	if err := w.client.Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Delete(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(b), &Kustomization{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("b: %v", err)
		}
		return nil
	})
	if _, err := w.configMap("one"); err != nil {
		t.Errorf("a suspended Kustomization took its object along: %v", err)
	}
}
