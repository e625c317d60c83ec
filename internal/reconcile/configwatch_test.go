package reconcile

import (
	"fmt"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

func TestAWatchedVariableIsAppliedWhenItChanges(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "${colour}-${size}")})
	w.source()
	vars := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "vars"}, Data: map[string]string{"colour": "red"}}
	vars.Labels = map[string]string{"reconcile.fluxcd.io/watch": "Enabled"}
	w.create(vars)
	size := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "size"}, Data: map[string][]byte{"size": []byte("small")}}
	size.Labels = vars.Labels
	w.create(size)
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{
			{Kind: "ConfigMap", Name: "vars"}, {Kind: "Secret", Name: "size"}}}
	})
	w.until(k, "True", "Applied")
	shows := func(want string) {
		t.Helper()
		testkit.Eventually(t, 20*time.Second, func() error {
			cm, err := w.configMap("one")
			if err == nil && cm.Data["key"] != want {
				err = fmt.Errorf("key = %q, want %q", cm.Data["key"], want)
			}
			return err
		})
	}
	shows("red-small")
	vars.Data["colour"] = "blue"
	if err := w.client.Update(t.Context(), vars); err != nil {
		t.Fatal(err)
	}
	shows("blue-small")
	size.Data["size"] = []byte("large")
	if err := w.client.Update(t.Context(), size); err != nil {
		t.Fatal(err)
	}
	shows("blue-large")
}

func TestVariablesAreStrictUnlessTheGateIsClosed(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "${nosuch}/${other:=default}")})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.PostBuild = &kustomizev1.PostBuild{SubstituteStrategy: kustomizev1.SubstituteStrategyAlways}
	})
	if got := w.until(k, "False", "nosuch"); readyReason(got) != "BuildFailed" {
		t.Errorf("reason = %s", readyReason(got))
	}
	w.stop()
	w.options.Features = Features{StrictPostBuildSubstitutions: false}
	w.start()
	w.until(k, "True", "Applied")
	if cm, err := w.configMap("one"); err != nil || cm.Data["key"] != "/default" {
		t.Errorf("key = %q, %v", cm.Data["key"], err)
	}
}
