package reconcile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/source"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// depot serves archives, as another source controller does.
type depot struct {
	*httptest.Server
	mu   sync.Mutex
	data map[string][]byte
}

func newDepot(t *testing.T) *depot {
	d := &depot{data: map[string][]byte{}}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		data, ok := d.data[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(d.Close)
	return d
}

// publish packs files and returns how a status refers to them.
func (d *depot) publish(t *testing.T, revision string, files map[string]string) *meta.Artifact {
	t.Helper()
	var b bytes.Buffer
	tree, err := new(source.Ignores).View(source.MapTree(files), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&source.Revision{Tree: tree}).WriteArchive(&b); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	p := "/" + hex.EncodeToString(sum[:8]) + ".tar.gz"
	d.mu.Lock()
	d.data[p] = b.Bytes()
	d.mu.Unlock()
	return &meta.Artifact{
		Path: p[1:], URL: d.URL + p, Revision: revision, Digest: "sha256:" + hex.EncodeToString(sum[:]),
		LastUpdateTime: metav1.Now(), Metadata: map[string]string{originRevision: "main@sha1:abc"},
	}
}

func TestSourcesOfOthersServeKustomizationsOnceTheirKindIsThere(t *testing.T) {
	w, d := newWorld(t), newDepot(t)
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.SourceRef = kustomizev1.CrossNamespaceSourceReference{Kind: "ExternalArtifact", Name: "app"}
		s.Path = "./a"
	})
	got := w.until(k, "False", "the ExternalArtifact feature gate is disabled")
	if readyReason(got) != "AccessDenied" || condition(got, "Stalled").Status != "True" {
		t.Errorf("conditions %+v", got.Status.Conditions)
	}
	w.stop()
	w.options.Features = Features{ExternalArtifact: true}
	w.start()
	w.poke(k)
	w.until(k, "False", "the cluster has no ExternalArtifact")
	testkit.InstallSourceKind(t, "ExternalArtifact", "externalartifacts")
	w.poke(k)
	w.until(k, "False", "ExternalArtifact/"+w.namespace+"/app does not exist")

	obj := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}}
	w.create(obj)
	publish := func(art *meta.Artifact) {
		t.Helper()
		testkit.Eventually(t, 10*time.Second, func() error {
			if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
				return err
			}
			obj.Status.Artifact = art
			return w.client.Status().Update(t.Context(), obj)
		})
	}
	publish(d.publish(t, "latest@sha256:1", map[string]string{"a/one.yaml": configMap("one", "1"), "a/two.yaml": configMap("two", "2")}))
	testkit.Eventually(t, 60*time.Second, func() error { return w.ready(k, "True", "latest@sha256:1") })
	publish(d.publish(t, "latest@sha256:2", map[string]string{"a/one.yaml": configMap("one", "changed")}))
	w.until(k, "True", "latest@sha256:2")
	if cm, err := w.configMap("one"); err != nil || cm.Data["key"] != "changed" {
		t.Errorf("ConfigMap one = %v, %v", cm.Data, err)
	}
	if _, err := w.configMap("two"); !apierrors.IsNotFound(err) {
		t.Errorf("ConfigMap two was not pruned: %v", err)
	}

	// Bytes that are not what the status promises change nothing.
	forged := d.publish(t, "latest@sha256:3", map[string]string{"a/evil.yaml": configMap("evil", "1")})
	forged.Digest = "sha256:" + strings.Repeat("0", 64)
	publish(forged)
	testkit.Eventually(t, 20*time.Second, func() error {
		if !strings.Contains(w.log.String(), "does not have the digest") {
			return fmt.Errorf("nothing was logged")
		}
		return nil
	})
	if _, err := w.configMap("evil"); !apierrors.IsNotFound(err) {
		t.Errorf("a forged artifact was applied: %v", err)
	}
}

func TestAnArtifactThatCannotBeUsedIsToldInTheKustomization(t *testing.T) {
	testkit.InstallSourceKind(t, "Bucket", "buckets")
	w, d := newWorld(t), newDepot(t)
	obj := &sourcev1.Bucket{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}}
	w.create(obj)
	obj.Status.Artifact = d.publish(t, "sha256:1", map[string]string{"a/one.yaml": configMap("one", "1")})
	obj.Status.Artifact.URL += "-gone"
	if err := w.client.Status().Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) { s.SourceRef.Kind = "Bucket" })
	got := w.until(k, "False", "HTTP 404")
	if err := becauseOf(got, meta.ArtifactFailedReason); err != nil {
		t.Error(err)
	}
	// A GitRepository of the same name is another source.
	w.push(map[string]string{"a/git.yaml": configMap("git", "1")})
	w.source()
	w.untilSource("app", "True", "Succeeded", "stored")
	if _, err := w.configMap("git"); !apierrors.IsNotFound(err) {
		t.Errorf("the Bucket's Kustomization applied the GitRepository: %v", err)
	}
}

func (w *world) ready(k *Kustomization, status metav1.ConditionStatus, text string) error {
	var got Kustomization
	if err := w.client.Get(w.t.Context(), client.ObjectKeyFromObject(k), &got); err != nil {
		return err
	}
	for _, c := range got.Status.Conditions {
		if c.Type == meta.ReadyCondition && c.Status == status && strings.Contains(c.Message, text) {
			return nil
		}
	}
	return fmt.Errorf("conditions %+v", got.Status.Conditions)
}

func becauseOf(k *Kustomization, reason string) error {
	for _, c := range k.Status.Conditions {
		if c.Type == meta.ReadyCondition && c.Reason == reason {
			return nil
		}
	}
	return fmt.Errorf("conditions %+v, want reason %s", k.Status.Conditions, reason)
}
