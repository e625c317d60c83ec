package cli

import (
	"path/filepath"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

func (r *room) get(o client.Object) client.Object {
	r.t.Helper()
	if err := r.client.Get(r.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		r.t.Fatal(err)
	}
	return o
}

func TestSuspendAndResumeTellTheirStepsAsFluxDoes(t *testing.T) {
	r := newRoom(t)
	r.controller("True", "Applied")
	a, b := r.kustomization("a", nil), r.kustomization("b", nil)
	_, suspended, code := r.run("suspend", "ks", "--all", "--reason", "the vault is being moved")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, suspended)
	}
	for _, k := range []*kustomizev1.Kustomization{a, b} {
		r.get(k)
		if !k.Spec.Suspend || k.Annotations[annotationReason] != "the vault is being moved" {
			t.Errorf("%s: suspend %v, annotations %v", k.Name, k.Spec.Suspend, k.Annotations)
		}
	}
	_, errs, code := r.run("reconcile", "ks", "a")
	if code != 1 || !strings.Contains(errs, "the vault is being moved") || !strings.Contains(errs, "sluice resume kustomization a -n "+r.namespace) {
		t.Errorf("exit %d: %s", code, errs)
	}
	_, resumed, code := r.run("resume", "ks", "a", "b", "--wait", "--timeout", "20s")
	if code != 0 {
		t.Errorf("exit %d: %s", code, resumed)
	}
	for _, k := range []*kustomizev1.Kustomization{a, b} {
		r.get(k)
		if k.Spec.Suspend || k.Annotations[annotationReason] != "" {
			t.Errorf("%s: suspend %v, annotations %v", k.Name, k.Spec.Suspend, k.Annotations)
		}
	}
	testkit.Golden(t, filepath.Join("testdata", "suspend-resume.golden"), []byte(r.generic(suspended+resumed)))
}

func TestAWrongNameSuspendsNothing(t *testing.T) {
	r := newRoom(t)
	g := r.repository("app", nil)
	_, errs, code := r.run("suspend", "source", "git", "app", "nosuch")
	if code != 1 || !strings.Contains(errs, "'nosuch' not found") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if r.get(g); g.Spec.Suspend {
		t.Error("the others are suspended all the same")
	}
	if _, _, code := r.run("suspend", "source", "git", "app"); code != 0 || !r.get(g).(*sourcev1.GitRepository).Spec.Suspend {
		t.Errorf("exit %d, spec %+v", code, g.Spec)
	}
	for _, args := range []string{"suspend ks", "suspend ks a --all", "resume source", "suspend ks --all"} {
		if _, _, code := r.run(strings.Fields(args)...); code == 0 {
			t.Errorf("%s is taken", args)
		}
	}
}

func TestResumeReportsEachThatFails(t *testing.T) {
	r := newRoom(t)
	r.controller("False", "build: no such path; fix: correct spec.path")
	r.kustomization("a", nil)
	r.kustomization("b", nil)
	_, errs, code := r.run("resume", "ks", "--all", "--timeout", "20s")
	if code != 1 || strings.Count(errs, "correct spec.path") != 2 {
		t.Errorf("exit %d: %s", code, errs)
	}
}
