package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// event waits for a Kubernetes Event about k with the reason and text.
func (w *world) event(k *Kustomization, reason, text string) {
	w.t.Helper()
	testkit.Eventually(w.t, 20*time.Second, func() error {
		var list corev1.EventList
		if err := w.client.List(w.t.Context(), &list, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.InvolvedObject.Name == k.Name && e.Reason == reason && strings.Contains(e.Message, text) {
				return nil
			}
		}
		return fmt.Errorf("no event %s with %q among %d", reason, text, len(list.Items))
	})
}

func TestWhatDoesNotEndIsLetGoAfterTheTimeout(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "1"), "a/two.yaml": configMap("two", "1")})
	w.source()
	w.stop()
	var ahead atomic.Int64 // of the clock, in minutes
	w.options.clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load()) * time.Minute) }
	w.options.Log = slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.start()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.DeletionPolicy, s.Prune, s.Timeout = kustomizev1.DeletionPolicyWaitForTermination, false, &metav1.Duration{Duration: 5 * time.Minute}
	})
	w.until(k, "True", "Applied")
	held, err := w.configMap("one")
	if err != nil {
		t.Fatal(err)
	}
	hold := func(json string) {
		t.Helper()
		if err := w.client.Patch(t.Context(), held, client.RawPatch("application/merge-patch+json", []byte(json))); err != nil {
			t.Fatal(err)
		}
	}
	hold(`{"metadata":{"finalizers":["example.com/hold"]}}`)
	t.Cleanup(func() {
		if err := w.client.Patch(context.Background(), held, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
			t.Error(err)
		}
	})
	if err := w.client.Delete(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	there := func() error { return w.client.Get(t.Context(), client.ObjectKeyFromObject(k), &Kustomization{}) }
	for _, patience := range []string{`"patience":"5m0s"`, `"patience":"5`} { // then less than a minute of seconds
		testkit.Eventually(t, 20*time.Second, func() error {
			if log := strings.ReplaceAll(w.log.String(), `"patience":"5m0s"`, ""); !strings.Contains(w.log.String(), patience) ||
				ahead.Load() > 0 && !strings.Contains(log, patience) {
				return fmt.Errorf("not yet down to %s: %v", patience, there())
			}
			return nil
		})
		if err := there(); err != nil {
			t.Fatalf("it was let go before its timeout, at %s: %v", patience, err)
		}
		ahead.Store(4)
	}
	ahead.Store(5)
	testkit.Eventually(t, 20*time.Second, func() error {
		if err := there(); !apierrors.IsNotFound(err) {
			return fmt.Errorf("Kustomization: %v", err)
		}
		return nil
	})
	if cm, err := w.configMap("one"); err != nil || cm.DeletionTimestamp == nil {
		t.Errorf("the held object: %v, %v", cm.DeletionTimestamp, err)
	}
	if _, err := w.configMap("two"); !apierrors.IsNotFound(err) {
		t.Errorf("the other object: %v", err)
	}
	w.event(k, meta.PruneFailedReason, "failed to wait for resources termination")
	w.event(k, meta.PruneFailedReason, "ConfigMap/"+w.namespace+"/one")
}

func TestANewRevisionEndsAWaitAndTellsOfIt(t *testing.T) {
	w := newWorld(t)
	first := w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.Timeout = &metav1.Duration{Duration: 10 * time.Minute}
		s.HealthChecks = []meta.NamespacedObjectKindReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "two", Namespace: w.namespace}}
	})
	w.until(k, "Unknown", "Running health checks for revision "+first)
	second := w.push(map[string]string{"a/two.yaml": configMap("two", "1")})
	w.until(k, "True", second)
	w.event(k, meta.HealthCheckCanceledReason, "Health checks canceled due to new reconciliation triggered by GitRepository/"+w.namespace+"/app")
}

func TestAFailedObjectEndsAWaitUnlessTheGateSaysOtherwise(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "bad")})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.Wait, s.Timeout = true, &metav1.Duration{Duration: 10 * time.Minute}
		s.HealthCheckExprs = []kustomize.CustomHealthCheck{{
			APIVersion: "v1", Kind: "ConfigMap",
			HealthCheckExpressions: kustomize.HealthCheckExpressions{Current: "data.key == 'good'", Failed: "data.key == 'bad'"},
		}}
	})
	if got := w.until(k, "False", "ConfigMap"); readyReason(got) != meta.HealthCheckFailedReason {
		t.Errorf("reason = %s", readyReason(got))
	}
	w.stop()
	w.options.Features = Features{DisableFailFastBehavior: true}
	w.start()
	w.poke(k)
	w.until(k, "Unknown", "Running health checks")
	w.until(k, "True", w.push(map[string]string{"a/one.yaml": configMap("one", "good")}))
}

func TestSourcesOfOtherNamespacesAreRefusedWhereForbidden(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.options.NoCrossNamespaceRefs = true
	w.start()
	w.push(map[string]string{"a/one.yaml": configMap("one", "1"), "b/two.yaml": configMap("two", "1")})
	w.source()
	other := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) { s.SourceRef.Namespace = "flux-system" })
	own := w.kustomization("b", func(s *kustomizev1.KustomizationSpec) { s.SourceRef.Namespace = w.namespace })
	got := w.until(other, "False", "--no-cross-namespace-refs")
	if readyReason(got) != "AccessDenied" || condition(got, "Stalled").Status != "True" {
		t.Errorf("conditions = %+v", got.Status.Conditions)
	}
	w.until(own, "True", "Applied")
}

func TestAShardWorksOnItsOwnObjectsOnly(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.options.WatchLabelSelector = "sharding.fluxcd.io/key=shard1"
	w.start()
	w.push(map[string]string{"a/one.yaml": configMap("one", "1"), "b/two.yaml": configMap("two", "1")})
	mine := map[string]string{"sharding.fluxcd.io/key": "shard1"}
	w.create(&sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app", Labels: mine},
		Spec:       sourcev1.GitRepositorySpec{URL: w.url, Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"}},
	})
	others, k := w.kustomization("b", nil), w.kustomization("a", nil)
	if err := w.client.Patch(t.Context(), k, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"sharding.fluxcd.io/key":"shard1"}}}`))); err != nil {
		t.Fatal(err)
	}
	w.until(k, "True", "Applied")
	w.until(k, "True", w.push(map[string]string{"a/one.yaml": configMap("one", "2"), "b/two.yaml": configMap("two", "2")}))
	var left Kustomization
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(others), &left); err != nil || len(left.Finalizers) != 0 || len(left.Status.Conditions) != 0 {
		t.Errorf("another shard's Kustomization was touched: %v %v, %v", left.Finalizers, left.Status.Conditions, err)
	}
	if _, err := w.configMap("two"); !apierrors.IsNotFound(err) {
		t.Errorf("another shard's object: %v", err)
	}
}

func TestTheFallbackSecretOpensWithItsAgeKeysAlone(t *testing.T) {
	w := newWorld(t)
	seal := w.ageKey("everybody")
	w.push(map[string]string{"a/secret.yaml": seal("apiVersion: v1\nkind: Secret\nmetadata:\n  name: sealed\nstringData:\n  password: " + canary + "\n")})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) { s.Decryption = &kustomizev1.Decryption{Provider: "sops"} })
	w.until(k, "False", "age")
	w.stop()
	w.options.SOPSAgeSecret = "everybody"
	w.start()
	w.until(k, "True", "Applied")

	obj := &Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: "a"}}
	obj.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops"}
	ks := &Kustomizations{Options: w.options}
	if name, ok := ks.keysSecret(obj); !ok || name.String() != w.namespace+"/everybody" {
		t.Errorf("keys of %s, %v", name, ok)
	}
	obj.Spec.Decryption.SecretRef = &meta.LocalObjectReference{Name: "own"}
	if name, ok := ks.keysSecret(obj); !ok || name.String() != "tenant/own" {
		t.Errorf("keys of %s, %v", name, ok)
	}
}
