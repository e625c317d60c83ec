package doctor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/source"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// artifact packs the sealed file as another source controller does, and returns how a status refers to it.
func (w *world) artifact(address string) (*meta.Artifact, []byte) {
	w.t.Helper()
	var b bytes.Buffer
	tree := source.MapTree(map[string]string{"apps/secret.yaml": w.sealed, "apps/kustomization.yaml": listed})
	w.must((&source.Revision{Tree: tree}).WriteArchive(&b))
	sum := sha256.Sum256(b.Bytes())
	return &meta.Artifact{
		Path: "x.tar.gz", URL: address + "/x.tar.gz", Revision: "latest@sha256:1", Digest: "sha256:" + hex.EncodeToString(sum[:]), LastUpdateTime: metav1.Now(),
	}, b.Bytes()
}

func TestTheFilesOfAnArtifactAreReadAsTheControllerReadsThem(t *testing.T) {
	w := newWorld(t)
	testkit.InstallSourceKind(t, "OCIRepository", "ocirepositories")
	var status atomic.Int32
	status.Store(http.StatusOK)
	var data []byte
	depot := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(int(status.Load()))
		_, _ = rw.Write(data)
	}))
	t.Cleanup(depot.Close)
	art, packed := w.artifact(depot.URL)
	data = packed
	oci := &sourcev1.OCIRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "app"}, Spec: sourcev1.OCIRepositorySpec{URL: "oci://registry.example.com/app"}}
	w.must(w.client.Create(t.Context(), oci))
	put := func(a *meta.Artifact, conditions ...metav1.Condition) {
		t.Helper()
		oci.Status.Artifact, oci.Status.Conditions = a, conditions
		w.must(w.client.Status().Update(t.Context(), oci))
	}
	kustomization(func(k *kustomizev1.Kustomization) { k.Spec.SourceRef.Kind = sourcev1.OCIRepositoryKind })(w)
	put(art)
	if r := w.examine(w.options()); len(r.without(OK)) > 0 {
		t.Fatalf("a healthy chain over an OCIRepository:\n%s", r.text())
	}

	// Out of sight for a workstation, unless it has a way in.
	hidden := *art
	hidden.URL = "http://source-controller.flux-system.svc.cluster.local./x.tar.gz"
	put(&hidden)
	o := w.options()
	r := w.examine(o)
	states := r.states()
	if r.Broken() != nil || states["source"] != OK || states["path"] != Unseen || states["sops files"] != Unseen || states["exchange"] != OK {
		t.Errorf("out of sight:\n%s", r.text())
	}
	if !strings.Contains(r.text(), "needs a way to the artifact at source-controller.flux-system.svc.cluster.local., which only the cluster resolves: kubectl port-forward") {
		t.Errorf("it does not say what it could not see:\n%s", r.text())
	}
	o.ArtifactHost = strings.TrimPrefix(depot.URL, "http://")
	if r := w.examine(o); len(r.without(OK)) > 0 {
		t.Errorf("with a port-forward:\n%s", r.text())
	}

	// What is broken for the controller: inside of the cluster a missing artifact, everywhere a wrong one.
	put(art)
	status.Store(http.StatusNotFound)
	if r := w.examine(w.options()); r.Broken() != nil {
		t.Errorf("from a workstation:\n%s", r.text())
	}
	o = w.options()
	o.Pod = &PodEnvironment{ClientID: w.id.ClientID, TenantID: w.id.TenantID}
	if h := w.named(w.examine(o), "source"); h.Fault.Code != "SLU-GIT-032" {
		t.Errorf("the artifact is gone: %s", h.Fault.Multiline())
	}
	status.Store(http.StatusOK)
	data = append(bytes.Clone(packed), 0)
	if h := w.named(w.examine(w.options()), "source"); h.Fault.Code != "SLU-GIT-031" {
		t.Errorf("another archive: %s", h.Fault.Multiline())
	}
	data = packed
	put(nil, metav1.Condition{Type: meta.ReadyCondition, Status: metav1.ConditionFalse, Reason: "Test", Message: "no such tag", LastTransitionTime: metav1.Now()})
	if h := w.named(w.examine(w.options()), "source"); h.Fault.Code != "SLU-GIT-061" || !strings.Contains(h.Fault.Fix, "kubectl describe ocirepositories -n "+w.ns+" app") {
		t.Errorf("no artifact: %s", h.Fault.Multiline())
	}
	put(nil)
	if r := w.examine(w.options()); r.Broken() != nil || r.states()["source"] != Unseen {
		t.Errorf("nothing made yet:\n%s", r.text())
	}
	kustomization(func(k *kustomizev1.Kustomization) { k.Spec.SourceRef.Kind = sourcev1.BucketKind })(w)
	if h := w.named(w.examine(w.options()), "source"); !strings.Contains(h.Fault.Why, "does not serve the kind") {
		t.Errorf("a kind that is not served: %s", h.Fault.Multiline())
	}
}

// Where Flux's source-controller keeps GitRepositories and the controller reads its artifacts, that this workstation can
// fetch nothing is no fault.
func TestAGitRepositoryThatSourceControllerServesIsNotCalledBroken(t *testing.T) {
	w := newWorld(t)
	edit(w, w.deployment(), func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Args = []string{"controller", "--git-repositories=read"}
	})
	w.settle()
	art, _ := w.artifact("http://source-controller.flux-system.svc.cluster.local.")
	repo := w.repository()
	publish := func() {
		edit(w, repo, func(r *sourcev1.GitRepository) { r.Spec.URL = w.url })
		repo.Status.Artifact = art
		repo.Status.Conditions = []metav1.Condition{{Type: meta.ReadyCondition, Status: metav1.ConditionTrue, Reason: "Succeeded", LastTransitionTime: metav1.Now()}}
		w.must(w.client.Status().Update(t.Context(), repo))
	}
	publish()
	if r := w.examine(w.options()); len(r.without(OK)) > 0 { // the remote shows the files
		t.Fatalf("\n%s", r.text())
	}
	edit(w, repo, func(r *sourcev1.GitRepository) { r.Spec.URL = "http://127.0.0.1:1/app.git" })
	r := w.examine(w.options())
	if states := r.states(); r.Broken() != nil || states["source"] != OK || states["path"] != Unseen || states["exchange"] != OK {
		t.Errorf("a remote that only source-controller reaches:\n%s", r.text())
	}
	if !strings.Contains(r.text(), "the controller fetched "+art.Revision+"; not fetched from here, which needs a way to the remote") {
		t.Errorf("it does not say what it could not see:\n%s", r.text())
	}
}
