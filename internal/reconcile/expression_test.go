package reconcile

import (
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/health"
	"github.com/sluice-gitops/sluice/internal/inventory"
)

func TestExpressionsJudgeObjectsInFluxsOrder(t *testing.T) {
	obj := &Kustomization{}
	obj.Spec.HealthCheckExprs = []kustomize.CustomHealthCheck{
		{APIVersion: "example.com/v1", Kind: "Thing", HealthCheckExpressions: kustomize.HealthCheckExpressions{
			InProgress: "status.phase == 'Pending'", Failed: "status.phase == 'Failed'", Current: "status.phase in ['Ready', 'Pending']",
		}},
		{APIVersion: "example.com/v1", HealthCheckExpressions: kustomize.HealthCheckExpressions{Current: "status.replicas >= 1.5"}},
	}
	r, err := rulesOf(obj)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		kind   string
		status map[string]any
		want   health.State
	}{
		{"Thing", map[string]any{"phase": "Pending"}, health.InProgress},
		{"Thing", map[string]any{"phase": "Failed"}, health.Failed},
		{"Thing", map[string]any{"phase": "Ready"}, health.Current},
		{"Thing", map[string]any{"phase": "Other"}, health.InProgress},
		{"Thing", map[string]any{"phase": "Ready", "observedGeneration": int64(1)}, health.InProgress},
		{"Thing", map[string]any{"phase": "Ready", "observedGeneration": "1"}, health.Current},
		{"Thing", map[string]any{}, health.Unknown},
		{"Other", map[string]any{"replicas": int64(2)}, health.Current},
		{"Other", map[string]any{"replicas": int64(1)}, health.InProgress},
	} {
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/v1", "kind": tt.kind, "metadata": map[string]any{"name": "x", "generation": int64(2)}, "status": tt.status,
		}}
		if got := r.judge(t.Context(), inventory.IDOf(u), u); got.State != tt.want {
			t.Errorf("%s %v = %s (%s), want %s", tt.kind, tt.status, got.State, got.Message, tt.want)
		}
	}
}

func TestWrongExpressionsAreReportedTogetherBeforeAnythingIsApplied(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.HealthCheckExprs = []kustomize.CustomHealthCheck{{APIVersion: "v1", Kind: "ConfigMap",
			HealthCheckExpressions: kustomize.HealthCheckExpressions{Current: "data.key == "}}}
		s.DependsOn = []kustomizev1.DependencyReference{{Name: "b", ReadyExpr: "dep.metadata.name"}}
	})
	got := w.until(k, "False", "spec.dependsOn[0].readyExpr")
	if readyReason(got) != "InvalidCELExpression" || !strings.Contains(readyMessage(got), "spec.healthCheckExprs[0].current") ||
		got.Status.ObservedGeneration != got.Generation || condition(got, "Stalled").Status != "True" {
		t.Errorf("conditions = %+v", got.Status.Conditions)
	}
	if _, err := w.configMap("one"); err == nil {
		t.Error("something was applied")
	}
}

func TestHealthExpressionsAreAskedOfTheLiveObject(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "new")})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.Wait = true
		s.HealthCheckExprs = []kustomize.CustomHealthCheck{{APIVersion: "v1", Kind: "ConfigMap", HealthCheckExpressions: kustomize.HealthCheckExpressions{
			Current: "has(metadata.annotations) && metadata.annotations['done'] == 'yes'",
			Failed:  "has(metadata.annotations) && metadata.annotations['done'] == 'no'",
		}}}
	})
	w.until(k, "Unknown", "health checks")
	w.annotate("one", "yes")
	got := w.until(k, "True", "Applied")
	if c := condition(got, "Healthy"); c.Status != "True" || c.Reason != "Succeeded" {
		t.Errorf("Healthy = %+v", c)
	}
	w.annotate("one", "no")
	w.poke(k)
	got = w.until(k, "False", "failed holds")
	if c := condition(got, "Healthy"); c.Status != "False" || c.Reason != "HealthCheckFailed" {
		t.Errorf("Healthy = %+v", c)
	}
	if h := got.Status.History; len(h) != 2 || h[0].LastReconciledStatus != "HealthCheckFailed" || h[0].Digest != h[1].Digest {
		t.Errorf("history = %+v", h)
	}
}

func TestReadyExprTakesThePlaceOfTheReadyRule(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "1"), "b/two.yaml": configMap("two", "1")})
	w.source()
	a := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) { s.Path = "./nosuch" })
	b := w.kustomization("b", func(s *kustomizev1.KustomizationSpec) {
		s.DependsOn = []kustomizev1.DependencyReference{{Name: "a", ReadyExpr: "dep.metadata.?labels['stage'].orValue('') == self.metadata.name"}}
	})
	w.until(a, "False", "nosuch")
	if got := w.until(b, "False", "readyExpr"); readyReason(got) != "DependencyNotReady" {
		t.Errorf("reason = %s", readyReason(got))
	}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"stage":"b"}}}`))
	if err := w.client.Patch(t.Context(), a.DeepCopy(), patch); err != nil {
		t.Fatal(err)
	}
	w.until(b, "True", "Applied") // at once, not after --requeue-dependency, which is 30 s

	w.stop()
	w.options.Features = Features{AdditiveCELDependencyCheck: true}
	w.start()
	w.poke(b)
	w.until(b, "False", "was not reconciled yet")
}

func TestFeatureGatesAreFluxs(t *testing.T) {
	f, warnings, err := ParseFeatures([]string{"AdditiveCELDependencyCheck=true, StrictPostBuildSubstitutions=false", "GroupChangeLog=true,Nope=1"})
	if err != nil || !f.On(AdditiveCELDependencyCheck) || f.On(StrictPostBuildSubstitutions) || f.On(ObjectLevelWorkloadIdentity) || len(warnings) != 2 {
		t.Errorf("features = %v, warnings = %q, %v", f, warnings, err)
	}
	if _, _, err := ParseFeatures([]string{"X"}); err == nil {
		t.Error("a gate without a value is accepted")
	}
	if !Features(nil).On(StrictPostBuildSubstitutions) {
		t.Error("substitution is not strict by default")
	}
}
