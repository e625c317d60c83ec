package reconcile

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

func TestBackoffDoublesUpToItsLimitAndStartsOverAfterSuccess(t *testing.T) {
	b, a := newBackoff(), types.NamespacedName{Name: "a"}
	for i, want := range []time.Duration{2, 4, 8, 10, 10} {
		if got := b.next(a, 10*time.Second); got != want*time.Second {
			t.Errorf("failure %d waits %s, want %ds", i+1, got, want)
		}
	}
	for range 100 {
		b.next(a, time.Hour)
	}
	if got := b.next(a, time.Hour); got != time.Hour {
		t.Errorf("after many failures the wait is %s", got)
	}
	if got := b.next(types.NamespacedName{Name: "b"}, time.Minute); got != firstRetry {
		t.Errorf("another object waits %s: a's failures slow it", got)
	}
	b.reset(a)
	if got := b.next(a, time.Minute); got != firstRetry {
		t.Errorf("after a success the wait is %s", got)
	}
}

func TestDeprecatedPatchesFollowTheOthers(t *testing.T) {
	var k Kustomization
	err := json.Unmarshal([]byte(`{"spec":{
		"interval":"1m","prune":true,"sourceRef":{"kind":"GitRepository","name":"x"},
		"patches":[{"patch":"first"}],
		"patchesStrategicMerge":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}],
		"patchesJson6902":[{"target":{"kind":"Deployment"},"patch":[{"op":"remove","path":"/spec"}]}]
	}}`), &k)
	if err != nil {
		t.Fatal(err)
	}
	flux, err := k.Flux()
	if err != nil {
		t.Fatal(err)
	}
	p := flux.Spec.Patches
	if len(p) != 3 || p[0].Patch != "first" || !strings.Contains(p[1].Patch, "kind: ConfigMap") ||
		p[2].Target.Kind != "Deployment" || !strings.Contains(p[2].Patch, "op: remove") {
		t.Errorf("patches = %+v", p)
	}
	if len(k.Spec.Patches) != 1 {
		t.Error("Flux changed the object that it copied")
	}
	c := k.DeepCopy()
	c.Spec.PatchesStrategicMerge[0].Raw[0] = '['
	c.Spec.PatchesJSON6902[0].Patch[0].Op = "add"
	if k.Spec.PatchesStrategicMerge[0].Raw[0] != '{' || k.Spec.PatchesJSON6902[0].Patch[0].Op != "remove" {
		t.Error("the copy shares memory with the original")
	}
}

func TestFieldsThatAreNotImplementedAreRefusedNotIgnored(t *testing.T) {
	k := &Kustomization{Spec: KustomizationSpec{KustomizationSpec: kustomizev1.KustomizationSpec{
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository"},
	}}}
	if err := unsupportedInKustomization(k); err != nil {
		t.Errorf("a plain Kustomization is refused: %v", err)
	}
	k.Spec.SourceRef.Kind = "HelmChart"
	if err := unsupportedInKustomization(k); !terminal(err) || !strings.Contains(err.Error(), "spec.sourceRef.kind HelmChart") {
		t.Errorf("spec.sourceRef.kind: %v", err)
	}
}

func TestConditionsFollowTheEndOfAnAttempt(t *testing.T) {
	var list []metav1.Condition
	c := conditions{&list, 3}
	states := func() string {
		var s []string
		for _, x := range list {
			s = append(s, x.Type+"="+string(x.Status)+"/"+x.Reason)
			if x.ObservedGeneration != 3 {
				t.Errorf("%s carries generation %d", x.Type, x.ObservedGeneration)
			}
		}
		return strings.Join(s, " ")
	}
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() { c.progressing("m") }, "Reconciling=True/Progressing Ready=Unknown/Progressing"},
		{func() { c.failed("BuildFailed", "m") }, "Reconciling=True/ProgressingWithRetry Ready=False/BuildFailed"},
		{func() { c.stalled("AccessDenied", "m") }, "Ready=False/AccessDenied Stalled=True/AccessDenied"},
		{func() { c.ready("ReconciliationSucceeded", "m") }, "Ready=True/ReconciliationSucceeded"},
	} {
		step.do()
		if got := states(); got != step.want {
			t.Errorf("got %s, want %s", got, step.want)
		}
	}
	c.failed("X", strings.Repeat("é", kustomizev1.MaxConditionMessageLength))
	for _, x := range list {
		if len(x.Message) > kustomizev1.MaxConditionMessageLength {
			t.Errorf("a message of %d bytes passes", len(x.Message))
		}
	}
}

func TestOnlyIdentitiesThatWereRefusedLoseTheirKeys(t *testing.T) {
	for hop, want := range map[fault.Hop]bool{
		fault.HopEntra: true, fault.HopIdentity: true, fault.HopVault: true, fault.HopKey: true,
		fault.HopSOPS: false, fault.HopRender: false, fault.HopApply: false,
	} {
		if got := refused(&fault.Fault{Hop: hop}); got != want {
			t.Errorf("refused(%s) = %v", hop, got)
		}
	}
	if refused(errors.New("x")) {
		t.Error("any error costs an identity its keys")
	}
}

func TestArtifactsAreStoredOnceAndServedAlone(t *testing.T) {
	a := &Artifacts{Dir: t.TempDir(), Host: "source-controller.flux-system.svc.cluster.local."}
	repo := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "app"}}
	revision := func(hash string) *source.Revision {
		return &source.Revision{
			Name: "main@sha1:" + hash, Commit: source.Commit{Hash: hash},
			Tree: source.MapTree(map[string]string{"a.yaml": "kind: X\n", "hash": hash}),
		}
	}
	var last string
	for _, hash := range []string{"one", "two", "three"} {
		art, err := a.Store(repo, revision(hash))
		if err != nil {
			t.Fatal(err)
		}
		if want := "http://source-controller.flux-system.svc.cluster.local./gitrepository/ns/app/" + hash + ".tar.gz"; art.URL != want {
			t.Errorf("URL = %s, want %s", art.URL, want)
		}
		repo.Status.Artifact, last = art, art.Digest
	}
	again, err := a.Store(repo, revision("three"))
	if err != nil || again.Digest != last || again != repo.Status.Artifact {
		t.Errorf("the same revision is stored again: %+v, %v", again, err)
	}
	files, err := os.ReadDir(filepath.Join(a.Dir, "gitrepository", "ns", "app"))
	if err != nil || len(files) != 2 {
		t.Errorf("kept %v (%v), want the current archive and the one before", files, err)
	}

	if err := os.WriteFile(filepath.Join(a.Dir, "gitrepository", "ns", "app", ".archive-1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"/gitrepository/ns/app/three.tar.gz":                   200,
		"/gitrepository/ns/app/":                               404,
		"/gitrepository/ns/app/.archive-1":                     404,
		"/gitrepository/ns/app/../../../../etc/x.tar.gz":       404,
		"/mirrors/ns/app/three.tar.gz":                         404,
		"/gitrepository/ns/app/three.tar.gz/../../../secret.x": 404,
	} {
		w := httptest.NewRecorder()
		a.Handler().ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: mustURL(t, path)})
		if w.Code != want {
			t.Errorf("GET %s = %d, want %d", path, w.Code, want)
		}
	}
}

func mustURL(t *testing.T, path string) *url.URL {
	t.Helper()
	return &url.URL{Path: path}
}
