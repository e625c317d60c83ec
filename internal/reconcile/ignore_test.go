package reconcile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/plan"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

func TestIgnoredFieldsAreNoDriftAndSurviveARevision(t *testing.T) {
	w, r := counted(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "git") + "  other: git\n"})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.Ignore = []kustomizev1.IgnoreRule{{Paths: []string{"/data/key"}, Target: &kustomize.Selector{Kind: "ConfigMap", Name: "on."}}}
	})
	w.until(k, "True", "Applied")
	w.settledIn(k, r)

	edit := func(json string) {
		t.Helper()
		cm, err := w.configMap("one")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.client.Patch(t.Context(), cm, client.RawPatch("application/merge-patch+json", []byte(json)), client.FieldOwner("scaler")); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(key, other string) {
		t.Helper()
		testkit.Eventually(t, 20*time.Second, func() error {
			cm, err := w.configMap("one")
			if err == nil && (cm.Data["key"] != key || cm.Data["other"] != other) {
				return fmt.Errorf("data = %v, want %s and %s", cm.Data, key, other)
			}
			return err
		})
	}
	edit(`{"data":{"key":"hand"}}`)
	edit(`{"metadata":{"annotations":{"theirs":"x"}}}`) // the watch has shown both by the time of what follows
	w.settledIn(k, r)
	expect("hand", "git")
	if strings.Contains(w.log.String(), `"msg":"drift"`) {
		t.Errorf("a change of an ignored field counts as drift")
	}
	edit(`{"data":{"other":"hand"}}`)
	expect("hand", "git") // put right beside it

	w.until(k, "True", w.push(map[string]string{"a/one.yaml": configMap("one", "new") + "  other: new\n"}))
	expect("hand", "new")

	// Without the rule the field is ours again.
	got := w.until(k, "True", "Applied")
	got.Spec.Ignore = nil
	if err := w.client.Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	expect("new", "new")
}

func TestWrongIgnoreRulesAreReportedTogether(t *testing.T) {
	obj := &Kustomization{}
	obj.Spec.Ignore = []kustomizev1.IgnoreRule{{Paths: []string{"spec/replicas"}}, {Paths: []string{"/a"}, Target: &kustomize.Selector{Kind: "("}}}
	_, err := ignoreOf(obj)
	if err == nil || !strings.Contains(err.Error(), "spec.ignore[0].paths") || !strings.Contains(err.Error(), "spec.ignore[1].target.kind") {
		t.Errorf("err = %v", err)
	}
	obj.Spec.Ignore = obj.Spec.Ignore[:0]
	if none, err := ignoreOf(obj); err != nil || !none.Equal(plan.Ignore{}) {
		t.Errorf("%v, %v", none, err)
	}
}
