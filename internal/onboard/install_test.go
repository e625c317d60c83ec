package onboard_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/crds"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/onboard"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

func (w *world) say(glyph, format string, args ...any) {
	fmt.Fprintf(&w.told, glyph+" "+format+"\n", args...)
}

// rollOut plays the deployment controller: it reports that everything runs.
func (w *world) rollOut() error {
	d, err := w.deployment("kustomize-controller")
	if err != nil {
		return err
	}
	d.Status.ObservedGeneration, d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas, d.Status.ReadyReplicas = d.Generation, 1, 1, 1, 1
	return w.client.Status().Update(w.t.Context(), d)
}

func (w *world) install() {
	w.t.Helper()
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	go func() {
		done <- onboard.Install(ctx, w.client, bootstrap.Options{Namespace: w.namespace}, false, true, w.say)
	}()
	testkit.Eventually(w.t, 30*time.Second, w.rollOut)
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) check(pre bool) *fault.Fault {
	w.t.Helper()
	w.told.Reset()
	err := onboard.Check(w.t.Context(), w.env.Config, w.namespace, pre, w.say)
	if err != nil && fault.From(err) == nil {
		w.t.Fatal(err)
	}
	return fault.From(err)
}

func TestInstallThenCheckThenUninstallLeavesWhatWasApplied(t *testing.T) {
	w := newWorld(t)
	if f := w.check(false); f == nil || f.Exit != fault.ExitNo {
		t.Errorf("an empty namespace passes: %v", f)
	}
	w.said("✔ Kubernetes 1.", "✗ no Sluice in")
	if f := w.check(true); f != nil {
		t.Errorf("--pre: %v", f)
	}
	w.install()
	w.said("✔ kustomize-controller: deployment ready", "✔ install finished")
	if f := w.check(false); f != nil {
		t.Errorf("check: %v\n%s", f, w.told.String())
	}
	w.said("✔ gitrepositories.source.toolkit.fluxcd.io/v1,v1beta2", "bootstrapped: false", "✔ all checks passed")

	ks := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app", Finalizers: []string{"finalizers.fluxcd.io"}}}
	ks.Spec = kustomizev1.KustomizationSpec{Interval: metav1.Duration{Duration: time.Hour}, Path: "./", Prune: true,
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "x"}}
	applied := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: w.namespace, Labels: map[string]string{
		"kustomize.toolkit.fluxcd.io/name": "app", "kustomize.toolkit.fluxcd.io/namespace": w.namespace}}}
	for _, o := range []client.Object{ks, applied} {
		if err := w.client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	u := onboard.Removal{Client: w.client, Namespace: w.namespace, KeepNamespace: true, DryRun: true, Say: w.say}
	w.told.Reset()
	if err := onboard.Uninstall(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	w.said("Deployment/"+w.namespace+"/kustomize-controller deleted (dry run)", "Kustomization/"+w.namespace+"/app finalizers deleted (dry run)")
	if _, err := w.deployment("kustomize-controller"); err != nil {
		t.Fatalf("the dry run deleted something: %v", err)
	}
	u.DryRun = false
	if err := onboard.Uninstall(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if _, err := w.deployment("kustomize-controller"); !apierrors.IsNotFound(err) {
		t.Errorf("the controller: %v", err)
	}
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(applied), applied); err != nil {
		t.Errorf("what was applied is gone: %v", err)
	}
	testkit.Eventually(t, 30*time.Second, func() error { // with the definition goes the object, for want of a finalizer
		err := w.client.Get(t.Context(), client.ObjectKeyFromObject(ks), ks)
		if err == nil {
			return fmt.Errorf("the Kustomization is still there, finalizers %v", ks.Finalizers)
		}
		return nil
	})
	for _, def := range crds.All() { // the next test installs them again
		testkit.Eventually(t, 30*time.Second, func() error {
			err := w.client.Get(t.Context(), client.ObjectKey{Name: def.Name}, &apiextensionsv1.CustomResourceDefinition{})
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s is still there: %v", def.Name, err)
			}
			return nil
		})
	}
	var ns corev1.Namespace
	if err := w.client.Get(t.Context(), client.ObjectKey{Name: w.namespace}, &ns); err != nil || ns.DeletionTimestamp != nil {
		t.Errorf("the namespace was to stay: %v %v", ns.DeletionTimestamp, err)
	}
}

func TestUninstallLeavesDefinitionsThatOthersNeed(t *testing.T) {
	w := newWorld(t)
	w.flux()
	err := onboard.Uninstall(t.Context(), onboard.Removal{Client: w.client, Namespace: w.namespace, Say: w.say})
	if f := fault.From(err); f == nil || f.Code != "SLU-KUBERNETES-035" || !strings.Contains(f.Seen, "helm-controller") {
		t.Fatalf("got %v", err)
	}
}

// expiring is a context whose deadline passes when it is told to, however slow the machine is.
type expiring struct {
	context.Context
	over chan struct{}
}

func (e expiring) Done() <-chan struct{} { return e.over }

func (e expiring) Err() error {
	select {
	case <-e.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestInstallThatDoesNotComeUpSaysWhy(t *testing.T) {
	w := newWorld(t)
	ctx := expiring{t.Context(), make(chan struct{})}
	err := onboard.Install(ctx, w.client, bootstrap.Options{Namespace: w.namespace}, false, true, func(glyph, format string, args ...any) {
		w.say(glyph, format, args...)
		if glyph == "◎" { // all is applied, and the wait begins
			close(ctx.over)
		}
	})
	f := fault.From(err)
	if f == nil || f.Exit != fault.ExitTimeout || !strings.Contains(f.Fix, "kubectl describe pods -n "+w.namespace) {
		t.Errorf("got %v", err)
	}
}
