package onboard_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/onboard"
	"github.com/sluice-gitops/sluice/internal/reconcile"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// labelled is a patch of the user's, by which a controller that serves labelled GitRepositories alone stands for Flux's
// source-controller. bench/parity has the real one.
func (w *world) labelled() {
	w.t.Helper()
	w.git.Commit(map[string]string{folder + "flux-system/patch.yaml": "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata:\n  name: " + w.namespace + "\n  namespace: " + w.namespace +
		"\n  labels:\n    served-by: stand-in\n"})
}

// sourceController serves the labelled GitRepositories, and no Kustomization, until stop.
func (w *world) sourceController() (stop func()) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		w.t.Fatal(err)
	}
	return w.controller(func(o *reconcile.Options) {
		o.WatchLabelSelector, o.StorageAddr, o.StorageAdvAddr = "served-by=stand-in", address, address
	})
}

func reading(o *reconcile.Options) { o.GitRepositories = reconcile.GitRead }

// bucket makes an object that only Flux serves, of a kind that is gone with the test.
func (w *world) bucket() *unstructured.Unstructured {
	w.t.Helper()
	w.definition("Bucket", "buckets")
	return w.anotherBucket()
}

func (w *world) anotherBucket() *unstructured.Unstructured {
	w.t.Helper()
	b := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "Bucket",
		"metadata": map[string]any{"name": "b", "namespace": w.namespace}}}
	if err := w.client.Create(w.t.Context(), b); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { // the test's own context has ended by then
		if err := client.IgnoreNotFound(w.client.Delete(context.Background(), b)); err != nil {
			w.t.Error(err)
		}
	})
	return b
}

// flag tells whether the Deployment leaves the sources to Flux.
func (w *world) flag() bool {
	w.t.Helper()
	d, err := w.deployment("kustomize-controller")
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.Contains(d.Spec.Template.Spec.Containers[0].Args, "--git-repositories=read")
}

func (w *world) sync() (git sourcev1.GitRepository, ks kustomizev1.Kustomization) {
	w.t.Helper()
	key := client.ObjectKey{Namespace: w.namespace, Name: w.namespace}
	if err := w.client.Get(w.t.Context(), key, &git); err != nil {
		w.t.Fatal(err)
	}
	if err := w.client.Get(w.t.Context(), key, &ks); err != nil {
		w.t.Fatal(err)
	}
	return git, ks
}

func TestSourceControllerStaysAsLongAsSomethingNeedsIt(t *testing.T) {
	w := newWorld(t)
	w.flux()
	w.labelled()
	b := w.bucket()
	before := w.git.Git("rev-parse", "main")
	w.refused(w.request(), "SLU-KUBERNETES-030", "--replace-flux: kustomize-controller is replaced, source-controller stays for 1 Bucket")
	if now := w.git.Git("rev-parse", "main"); now != before {
		t.Fatal("it was pushed all the same")
	}
	stopSource, stopReading := w.sourceController(), w.controller(reading)
	r := w.request()
	r.ReplaceFlux = true
	w.bootstrap(r)
	w.said("Flux's source-controller serves the sources for 1 Bucket", "✔ kustomize-controller removed", "✔ Kustomization reconciled")
	if strings.Contains(w.told.String(), "source-controller removed") {
		t.Error("source-controller was removed")
	}
	d, err := w.deployment("source-controller")
	if err != nil || !strings.Contains(d.Spec.Template.Spec.Containers[0].Image, "fluxcd/source-controller") {
		t.Fatalf("Flux's source-controller: %v", err)
	}
	if !w.flag() {
		t.Error("the new controller serves GitRepositories too")
	}
	git, ks := w.sync()
	if head := "main@sha1:" + w.git.Git("rev-parse", "main"); ks.Status.LastAppliedRevision != head || git.Status.Artifact.Revision != head {
		t.Errorf("the cluster is at %s, main at %s", ks.Status.LastAppliedRevision, head)
	}
	if d.Labels["kustomize.toolkit.fluxcd.io/name"] != w.namespace {
		t.Error("source-controller is not the sync's: the next upgrade of the repository would not reach it")
	}
	_ = w.check(false)
	w.said("✔ the sources are served by Flux's source-controller and read by Sluice")

	w.told.Reset()
	w.bootstrap(r)
	w.said("no commit", "1 Bucket")

	// Nothing needs it any more: it stays until it is to be replaced.
	if err := w.client.Delete(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	w.told.Reset()
	w.bootstrap(w.request())
	w.said("no commit", "nothing in the cluster needs it", "--replace-flux")
	if _, err := w.deployment("source-controller"); err != nil || !w.flag() {
		t.Errorf("source-controller did not stay: %v", err)
	}
	stopReading()
	stopSource()
	w.controller()
	w.told.Reset()
	w.bootstrap(r)
	w.said("✔ committed and pushed", "Sluice serves the sources", "✔ source-controller removed")
	if _, err := w.deployment("source-controller"); !apierrors.IsNotFound(err) || w.flag() {
		t.Errorf("source-controller was to go: %v", err)
	}
	w.definitionsStand()

	// And needed again.
	w.anotherBucket()
	w.told.Reset()
	w.bootstrap(w.request())
	w.said("⚠ nobody serves 1 Bucket", "--export > gitops/aks/flux-system/source-controller.yaml", "no commit")
	_ = w.check(false)
	w.said("⚠ nobody serves 1 Bucket")
}

func (w *world) definitionsStand() {
	w.t.Helper()
	for _, name := range []string{"gitrepositories.source.toolkit.fluxcd.io", "kustomizations.kustomize.toolkit.fluxcd.io", "helmreleases.helm.toolkit.fluxcd.io"} {
		var def apiextensionsv1.CustomResourceDefinition
		if err := w.client.Get(w.t.Context(), client.ObjectKey{Name: name}, &def); err != nil || def.DeletionTimestamp != nil {
			w.t.Errorf("%s: %v, deleted %v", name, err, def.DeletionTimestamp)
		}
	}
}

// The bootstrap is one commit. Without it the repository is Flux's again, and Sluice's last act is to bring Flux back.
func TestARevertedBootstrapHandsTheClusterBackToFlux(t *testing.T) {
	for name, needed := range map[string]bool{"with Sluice serving the sources": false, "with source-controller serving them": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.flux()
			if needed {
				w.labelled()
				w.bucket()
				w.sourceController()
				w.controller(reading)
			} else {
				w.controller()
			}
			r := w.request()
			r.ReplaceFlux = true
			w.bootstrap(r)
			w.git.Git("update-ref", "refs/heads/main", w.git.Git("commit-tree", "main~1^{tree}", "-p", "main", "-m", "Revert"))
			git, _ := w.sync()
			if err := w.client.Patch(t.Context(), &git, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, time.Now().String()))); err != nil {
				t.Fatal(err)
			}
			head := "main@sha1:" + w.git.Git("rev-parse", "main")
			testkit.Eventually(t, 30*time.Second, func() error {
				if _, ks := w.sync(); ks.Status.LastAppliedRevision != head {
					return fmt.Errorf("at %s: %+v", ks.Status.LastAppliedRevision, ks.Status.Conditions)
				}
				return nil
			})
			for _, name := range []string{"source-controller", "kustomize-controller", "helm-controller"} {
				d, err := w.deployment(name)
				if err != nil || !strings.Contains(d.Spec.Template.Spec.Containers[0].Image, "fluxcd/"+name) || len(d.Spec.Template.Spec.Containers[0].Args) > 0 && d.Spec.Template.Spec.Containers[0].Args[0] == "controller" {
					t.Errorf("%s is not Flux's: %v", name, err)
				}
			}
			var b rbacv1.ClusterRoleBinding
			if err := w.client.Get(t.Context(), client.ObjectKey{Name: "crd-controller-" + w.namespace}, &b); err != nil || len(b.Subjects) != 2 {
				t.Errorf("Flux's binding: %v, %v", b.Subjects, err)
			}
			w.definitionsStand()
		})
	}
}

func TestWhatStaysOfFluxKeepsItsRights(t *testing.T) {
	w := newWorld(t)
	w.flux()
	if err := onboard.Install(t.Context(), w.client, bootstrap.Options{Namespace: w.namespace}, true, false, w.say); err != nil {
		t.Fatal(err)
	}
	for name, role := range map[string]string{"crd-controller-" + w.namespace: "crd-controller-" + w.namespace, "cluster-reconciler-" + w.namespace: "cluster-admin"} {
		var ours, others rbacv1.ClusterRoleBinding
		if err := w.client.Get(t.Context(), client.ObjectKey{Name: name}, &ours); err != nil || len(ours.Subjects) != 1 || ours.Subjects[0].Name != "kustomize-controller" {
			t.Errorf("%s: %v, %v", name, ours.Subjects, err)
		}
		if err := w.client.Get(t.Context(), client.ObjectKey{Name: name + "-others"}, &others); err != nil || len(others.Subjects) != 1 || others.Subjects[0].Name != "helm-controller" {
			t.Errorf("%s-others: %v, %v", name, others.Subjects, err)
		}
		if role != "cluster-admin" {
			role += "-others"
		}
		if others.RoleRef.Name != role {
			t.Errorf("%s-others binds %s", name, others.RoleRef.Name)
		}
	}
	var role rbacv1.ClusterRole
	if err := w.client.Get(t.Context(), client.ObjectKey{Name: "crd-controller-" + w.namespace + "-others"}, &role); err != nil || !strings.Contains(fmt.Sprint(role.Rules), "helm.toolkit.fluxcd.io") {
		t.Errorf("the role of the others: %v, %v", role.Rules, err)
	}
}

func TestInstallBesideSourceControllerReadsTheSources(t *testing.T) {
	w := newWorld(t)
	w.flux()
	w.bucket()
	o := bootstrap.Options{Namespace: w.namespace}
	for range 2 { // the second needs no --replace-flux
		if err := onboard.Install(t.Context(), w.client, o, true, false, w.say); err != nil {
			t.Fatal(err)
		}
		if _, err := w.deployment("source-controller"); err != nil || !w.flag() {
			t.Errorf("source-controller: %v; read: %v", err, w.flag())
		}
	}
	if err := w.client.Delete(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "source-controller"}}); err != nil {
		t.Fatal(err)
	}
	_ = w.check(false)
	w.said("✗ nobody serves the sources: Flux's source-controller is gone")
	o.FluxSources = true
	err := onboard.Install(t.Context(), w.client, o, false, false, w.say)
	if f := fault.From(err); f == nil || f.Code != "SLU-KUBERNETES-036" {
		t.Errorf("got %v", err)
	}
	o.FluxSources = false
	if err := onboard.Install(t.Context(), w.client, o, false, false, w.say); err != nil || w.flag() {
		t.Errorf("Sluice does not serve what nobody else does: %v", err)
	}
}

func TestUninstallFromBesideFluxLeavesWhatFluxNeeds(t *testing.T) {
	w := newWorld(t)
	w.flux()
	w.bucket()
	if err := onboard.Install(t.Context(), w.client, bootstrap.Options{Namespace: w.namespace}, true, false, w.say); err != nil {
		t.Fatal(err)
	}
	u := onboard.Removal{Client: w.client, Namespace: w.namespace, Say: w.say}
	if f := fault.From(onboard.Uninstall(t.Context(), u)); f == nil || f.Code != "SLU-KUBERNETES-035" || !strings.Contains(f.Fix, "--keep-namespace") {
		t.Fatalf("got %v", f)
	}
	u.KeepNamespace = true
	for _, dry := range []bool{true, false} {
		u.DryRun = dry
		if err := onboard.Uninstall(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		if _, err := w.deployment("kustomize-controller"); dry != (err == nil) {
			t.Errorf("dry %v: %v", dry, err)
		}
	}
	w.said("--components=kustomize-controller -n " + w.namespace)
	for _, name := range []string{"source-controller", "helm-controller"} {
		if _, err := w.deployment(name); err != nil {
			t.Error(err)
		}
	}
	for name, there := range map[string]bool{"crd-controller-" + w.namespace: false, "crd-controller-" + w.namespace + "-others": true} {
		var b rbacv1.ClusterRoleBinding
		if err := w.client.Get(t.Context(), client.ObjectKey{Name: name}, &b); there != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.definitionsStand()
}
