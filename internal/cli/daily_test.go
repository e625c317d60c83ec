package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// furnish puts a root Kustomization, which owns itself and another, into the room, with what they were made from.
func (r *room) furnish() {
	r.t.Helper()
	size := int64(3 << 20)
	r.repository("app", func(g *sourcev1.GitRepository) {
		g.Spec.Reference = &sourcev1.GitRepositoryRef{Branch: "main"}
		g.Status.Artifact = &meta.Artifact{Revision: "main@sha1:" + hash, Path: "p", URL: "http://x/p", Digest: "sha256:" + hash + hash[:24], LastUpdateTime: metav1.Now(), Size: &size}
		g.Status.Conditions = condition("True", "stored artifact")
	})
	own := func(ids ...string) *kustomizev1.ResourceInventory {
		inv := &kustomizev1.ResourceInventory{}
		for _, id := range ids {
			inv.Entries = append(inv.Entries, kustomizev1.ResourceRef{ID: r.namespace + "_" + id, Version: "v1"})
		}
		return inv
	}
	ks := "_kustomize.toolkit.fluxcd.io_Kustomization"
	r.kustomization("root", func(k *kustomizev1.Kustomization) {
		k.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "now", "kept": "yes"}
		k.Status.Inventory = own("root"+ks, "apps"+ks, "gone"+ks, "settings__ConfigMap")
		k.Status.Conditions, k.Status.LastAppliedRevision = condition("True", "Applied revision"), "main@sha1:"+hash
	})
	r.kustomization("apps", func(k *kustomizev1.Kustomization) {
		k.Status.Inventory = own("web_apps_Deployment", "db__Secret")
		k.Status.Conditions = condition("False", "broken")
	})
	r.kustomization("halted", func(k *kustomizev1.Kustomization) { k.Spec.Suspend = true })
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "settings", Labels: map[string]string{
		"kustomize.toolkit.fluxcd.io/name": "root", "kustomize.toolkit.fluxcd.io/namespace": r.namespace}}}
	stray := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "stray"}}
	for _, o := range []*corev1.ConfigMap{cm, stray} {
		if err := r.client.Create(r.t.Context(), o); err != nil {
			r.t.Fatal(err)
		}
	}
	for i, e := range []corev1.Event{
		{Type: "Normal", Reason: "ReconciliationSucceeded", Message: "second", InvolvedObject: corev1.ObjectReference{Kind: "Kustomization", Name: "root", APIVersion: "kustomize.toolkit.fluxcd.io/v1"}},
		{Type: "Warning", Reason: "BuildFailed", Message: "first\nof two lines", InvolvedObject: corev1.ObjectReference{Kind: "Kustomization", Name: "apps", APIVersion: "kustomize.toolkit.fluxcd.io/v1"}},
		{Type: "Normal", Reason: "Scheduled", Message: "not ours", InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p", APIVersion: "v1"}},
	} {
		e.ObjectMeta = metav1.ObjectMeta{Namespace: r.namespace, Name: []string{"a", "b", "c"}[i]}
		e.InvolvedObject.Namespace = r.namespace
		e.LastTimestamp = metav1.NewTime(time.Now().Add(-time.Duration(i+1)*time.Hour - time.Minute))
		if err := r.client.Create(r.t.Context(), &e); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestDailyCommandsPrintWhatFluxsReadersKnow(t *testing.T) {
	r := newRoom(t)
	r.furnish()
	for golden, args := range map[string]string{
		"tree":         "tree ks root",
		"tree-compact": "tree ks root --compact",
		"tree-yaml":    "tree ks root -o yaml",
		"events":       "events",
		"events-for":   "events --for ks/apps --types warning --no-header",
		"export":       "export ks root",
		"export-git":   "export source git --all",
		"stats":        "stats",
		"trace":        "trace settings --kind ConfigMap --api-version v1",
	} {
		out, errs, code := r.run(strings.Fields(args)...)
		if code != 0 {
			t.Errorf("%s: exit %d: %s", args, code, errs)
		}
		testkit.Golden(t, filepath.Join("testdata", "daily-"+golden+".golden"), []byte(timeless(r.generic(out))))
	}
}

// timeless hides points in time.
func timeless(text string) string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		if before, _, ok := strings.Cut(line, " at 20"); ok {
			line = before + " at TIME"
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestDailyCommandsSayNoWithExitCodeOne(t *testing.T) {
	r := newRoom(t)
	r.furnish()
	for args, want := range map[string]string{
		"tree ks nosuch":                                   "'nosuch' not found",
		"events --for ks/nosuch":                           "no events found",
		"export ks nosuch":                                 "'nosuch' not found",
		"export source git nosuch":                         "'nosuch' not found",
		"wait ks nosuch":                                   "'nosuch' not found",
		"wait ks halted":                                   "sluice resume ks halted",
		"trace x --kind ConfigMap --api-version v1":        "'x' not found",
		"trace stray --kind ConfigMap --api-version v1":    "not managed",
		"trace settings --kind Nothing --api-version x/v1": "not found",
	} {
		if out, errs, code := r.run(strings.Fields(args)...); code != 1 || !strings.Contains(errs, want) || out != "" {
			t.Errorf("%s: exit %d, %q, stderr %q, want %q", args, code, out, errs, want)
		}
	}
	for _, args := range []string{"tree", "tree ks", "tree ks root -o xml", "events --for root", "export", "export ks", "export ks a --all", "wait", "wait ks", "wait ks a --all", "trace x"} {
		if _, errs, code := r.run(strings.Fields(args)...); code != 2 {
			t.Errorf("%s: exit %d: %s", args, code, errs)
		}
	}
}

func TestWaitEndsAtTheRevisionAndNotBefore(t *testing.T) {
	r := newRoom(t)
	set := func(k *kustomizev1.Kustomization, status metav1.ConditionStatus, revision string) {
		t.Helper()
		r.get(k)
		k.Status.ObservedGeneration, k.Status.LastAppliedRevision = k.Generation, revision
		k.Status.Conditions = condition(status, "verdict")
		r.status(k)
	}
	k := r.kustomization("apps", nil)
	r.kustomization("halted", func(k *kustomizev1.Kustomization) { k.Spec.Suspend = true })
	old := "main@sha1:" + strings.Repeat("a", 40)
	set(k, "True", old)
	if _, errs, code := r.run("wait", "ks", "--all"); code != 0 || !strings.Contains(errs, "apps applied revision "+old) {
		t.Errorf("exit %d: %s", code, errs)
	}
	if _, errs, code := r.run("wait", "ks", "apps", "--revision", hash, "--timeout", "600ms"); code != 8 || !strings.Contains(errs, "not ready within 600ms") {
		t.Errorf("exit %d: %s", code, errs)
	}
	out, errs, _ := r.background("wait", "ks", "--all", "--revision", hash[:10], "--timeout", "30s")
	set(k, "Unknown", old)
	set(k, "True", "main@sha1:"+hash)
	testkit.Eventually(t, 20*time.Second, func() error {
		if !strings.Contains(errs.String(), "✔ apps applied revision main@sha1:"+hash) {
			return fmt.Errorf("stdout %q, stderr %q", out, errs)
		}
		return nil
	})
	r.get(k)
	k.Status.Conditions = append(condition("False", "api: spec.ignore is set; fix: remove it"), metav1.Condition{Type: meta.StalledCondition, Status: "True", Reason: "R"})
	r.status(k)
	if _, errs, code := r.run("wait", "ks", "apps", "--timeout", "20s"); code != 1 || !strings.Contains(errs, "remove it") {
		t.Errorf("exit %d: %s", code, errs)
	}
}
