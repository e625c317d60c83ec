package reconcile

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// reading restarts the controllers with GitRepositories that another controller serves: the test itself.
func (w *world) reading(edit func(*Options)) {
	w.t.Helper()
	w.stop()
	w.options.GitRepositories, w.options.StorageAddr = GitRead, "127.0.0.1:1" // nobody may listen there
	if edit != nil {
		edit(&w.options)
	}
	w.start()
}

// published writes the artifact into the GitRepository's status, as source-controller does.
func (w *world) published(art *meta.Artifact) *sourcev1.GitRepository {
	w.t.Helper()
	repo := &sourcev1.GitRepository{}
	testkit.Eventually(w.t, 10*time.Second, func() error {
		if err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "app"}, repo); err != nil {
			return err
		}
		repo.Status.Artifact = art
		return w.client.Status().Update(w.t.Context(), repo, client.FieldOwner("source-controller"))
	})
	return repo
}

func TestGitRepositoriesThatAreReadAreLeftToTheirController(t *testing.T) {
	w, d := newWorld(t), newDepot(t)
	w.reading(nil)
	a, b := w.kustomization("a", nil), w.kustomization("b", nil)
	w.until(a, "False", "GitRepository/"+w.namespace+"/app does not exist")
	w.source()
	w.poke(a)
	w.until(a, "False", "has no artifact yet")

	files := map[string]string{"a/one.yaml": configMap("one", "1"), "a/two.yaml": configMap("two", "1"), "b/other.yaml": configMap("other", "1")}
	w.published(d.publish(t, "main@sha1:1", files))
	for _, k := range []*Kustomization{a, b} {
		if got := w.until(k, "True", "main@sha1:1"); got.Status.LastAppliedRevision != "main@sha1:1" || len(got.Status.Inventory.Entries) == 0 {
			t.Errorf("%s: status %+v", k.Name, got.Status)
		}
	}
	other, err := w.configMap("other")
	if err != nil {
		t.Fatal(err)
	}

	// The status alone wakes them: no interval passes. What the revision doesn't change is not rendered.
	delete(files, "a/two.yaml")
	files["a/one.yaml"] = configMap("one", "2")
	repo := w.published(d.publish(t, "main@sha1:2", files))
	w.until(a, "True", "main@sha1:2")
	w.until(b, "True", "main@sha1:2")
	if cm, err := w.configMap("one"); err != nil || cm.Data["key"] != "2" {
		t.Errorf("ConfigMap one = %v, %v", cm.Data, err)
	}
	if _, err := w.configMap("two"); !apierrors.IsNotFound(err) {
		t.Errorf("ConfigMap two was not pruned: %v", err)
	}
	if now, err := w.configMap("other"); err != nil || now.ResourceVersion != other.ResourceVersion {
		t.Errorf("ConfigMap other was written: %v", err)
	}
	if n := strings.Count(w.log.String(), `"revision":"main@sha1:2","duration"`); n != 1 {
		t.Errorf("%d Kustomizations were rendered at the second revision, want 1", n)
	}

	// Nothing was written to the GitRepository, and nothing of it is kept or served.
	var now sourcev1.GitRepository
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(repo), &now); err != nil {
		t.Fatal(err)
	}
	if now.ResourceVersion != repo.ResourceVersion || len(now.Finalizers) > 0 || len(now.Status.Conditions) > 0 {
		t.Errorf("the GitRepository was written: finalizers %v, conditions %v", now.Finalizers, now.Status.Conditions)
	}
	if kept, err := os.ReadDir(w.options.StoragePath); err != nil || len(kept) > 0 {
		t.Errorf("the storage holds %v, %v", kept, err)
	}

	// An artifact that goes away takes nothing along; the one that follows does its work.
	w.published(nil)
	w.published(d.publish(t, "main@sha1:3", files))
	w.until(a, "True", "main@sha1:3")
}

func TestAShardReadsRepositoriesThatBearNoLabel(t *testing.T) {
	w, d := newWorld(t), newDepot(t)
	w.reading(func(o *Options) { o.WatchLabelSelector = "sharding.fluxcd.io/key=shard1" })
	w.source()
	w.published(d.publish(t, "main@sha1:1", map[string]string{"a/one.yaml": configMap("one", "1")}))
	k := &Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "a", Labels: map[string]string{"sharding.fluxcd.io/key": "shard1"}}}
	k.Spec.KustomizationSpec = kustomizev1.KustomizationSpec{Interval: metav1.Duration{Duration: time.Hour}, Path: "./a", Prune: true, TargetNamespace: w.namespace,
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "app"}}
	w.create(k)
	w.until(k, "True", "main@sha1:1")
}

func TestAReadRepositoryOfAnotherNamespaceIsRefusedWhereForbidden(t *testing.T) {
	w := newWorld(t)
	w.reading(func(o *Options) { o.NoCrossNamespaceRefs = true })
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) { s.SourceRef.Namespace = "default" })
	if got := w.until(k, "False", "--no-cross-namespace-refs"); readyReason(got) != "AccessDenied" {
		t.Errorf("conditions %+v", got.Status.Conditions)
	}
}

// Flux leaves .sops.yaml out of artifacts. What can't be judged for that is not let through.
func TestRulesThatAnArtifactLeavesOutAreMissed(t *testing.T) {
	w, d := newWorld(t), newDepot(t)
	w.reading(func(o *Options) { o.SOPSPolicy = SOPSPolicyEnforce })
	seal := w.ageKey("keys")
	secret := "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n  password: " + canary + "\n"
	sealed := seal(secret)
	mine := regexp.MustCompile(`age1[0-9a-z]+`).FindString(sealed)
	rule := func(recipient string) string {
		return "creation_rules:\n  - encrypted_regex: ^(data|stringData)$\n    age: " + recipient + "\n"
	}
	w.source()
	w.published(d.publish(t, "main@sha1:1", map[string]string{"a/db.yaml": sealed, "a/other.yaml": configMap("beside", "1")}))
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
	})
	w.until(k, "False", "the artifact of GitRepository/"+w.namespace+"/app holds no .sops.yaml")
	if _, err := w.configMap("beside"); !apierrors.IsNotFound(err) {
		t.Errorf("something of the refused revision was applied: %v", err)
	}
	keep := func(rules string) map[string]string {
		return map[string]string{".sourceignore": "!.sops.yaml", ".sops.yaml": rules, "a/db.yaml": sealed}
	}
	w.published(d.publish(t, "main@sha1:2", keep(rule(foreigner))))
	w.until(k, "False", "sealed for age "+mine)
	w.published(d.publish(t, "main@sha1:3", keep(rule(mine))))
	w.until(k, "True", "main@sha1:3")

	w.reading(func(o *Options) { o.SOPSPolicy = SOPSPolicyWarn })
	w.published(d.publish(t, "main@sha1:4", map[string]string{"a/db.yaml": sealed, "a/more.yaml": seal(strings.Replace(secret, "db", "db2", 1))}))
	w.until(k, "True", "main@sha1:4")
	testkit.Eventually(t, 10*time.Second, func() error {
		var list corev1.EventList
		if err := w.client.List(t.Context(), &list, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		var told int32
		for _, e := range list.Items {
			if e.Reason == "SOPSPolicy" && strings.Contains(e.Message, "holds no .sops.yaml") {
				told += max(e.Count, 1)
			}
		}
		if told != 1 {
			return fmt.Errorf("told %d times, want once for the attempt", told)
		}
		return nil
	})
}
