package reconcile

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// repository creates a GitRepository of the world's remote after edit has changed it.
func (w *world) repository(name string, edit func(*sourcev1.GitRepositorySpec)) {
	w.t.Helper()
	r := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	r.Spec = sourcev1.GitRepositorySpec{
		URL: w.url, Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
	}
	edit(&r.Spec)
	w.create(r)
}

// edit changes a GitRepository's spec.
func (w *world) edit(name string, edit func(*sourcev1.GitRepositorySpec)) {
	w.t.Helper()
	testkit.Eventually(w.t, 10*time.Second, func() error {
		var r sourcev1.GitRepository
		if err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &r); err != nil {
			return err
		}
		edit(&r.Spec)
		return w.client.Update(w.t.Context(), &r)
	})
}

// untilSource waits for a verdict on a GitRepository's current generation and returns the object.
func (w *world) untilSource(name string, status metav1.ConditionStatus, reason, text string) *sourcev1.GitRepository {
	w.t.Helper()
	var r sourcev1.GitRepository
	testkit.Eventually(w.t, 30*time.Second, func() error {
		if err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &r); err != nil {
			return err
		}
		c := apimeta.FindStatusCondition(r.Status.Conditions, meta.ReadyCondition)
		if c == nil || c.ObservedGeneration != r.Generation || c.Status != status || c.Reason != reason || !strings.Contains(c.Message, text) {
			return fmt.Errorf("Ready is %+v, want %s %s with %q", c, status, reason, text)
		}
		return nil
	})
	return &r
}

func hasCondition(r *sourcev1.GitRepository, kind string, status metav1.ConditionStatus, reason string) error {
	c := apimeta.FindStatusCondition(r.Status.Conditions, kind)
	if c == nil || c.Status != status || c.Reason != reason {
		return fmt.Errorf("%s is %+v, want %s %s", kind, c, status, reason)
	}
	return nil
}

// archived lists the files of a repository's published artifact.
func (w *world) archived(r *sourcev1.GitRepository) string {
	w.t.Helper()
	f, err := os.Open(filepath.Join(w.options.StoragePath, "artifacts", filepath.FromSlash(r.Status.Artifact.Path)))
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return strings.Join(names, " ")
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			names = append(names, h.Name)
		}
	}
}

func TestAnEditOfIgnoreChangesWhatIsAppliedAndPublishedAtTheSameCommit(t *testing.T) {
	w := newWorld(t)
	rev := w.push(map[string]string{
		"a/one.yaml": configMap("one", "1"), "a/two.yaml": configMap("two", "2"), "a/three.yaml": configMap("three", "3"),
		".sourceignore": "three.yaml\n", "README.md": "x",
	})
	w.repository("app", func(s *sourcev1.GitRepositorySpec) { s.Ignore = new("two.yaml\n") })
	k := w.kustomization("a", nil)
	w.until(k, "True", rev)
	for name, want := range map[string]bool{"one": true, "two": false, "three": false} {
		if _, err := w.configMap(name); (err == nil) != want {
			t.Errorf("ConfigMap %s: %v", name, err)
		}
	}
	r := w.untilSource("app", "True", "Succeeded", rev)
	if got := w.archived(r); got != ".sourceignore README.md a/one.yaml" {
		t.Errorf("the archive holds %s", got)
	}
	if r.Status.ObservedIgnore == nil || *r.Status.ObservedIgnore != "two.yaml\n" {
		t.Errorf("observedIgnore = %v", r.Status.ObservedIgnore)
	}

	w.edit("app", func(s *sourcev1.GitRepositorySpec) { s.Ignore = new("one.yaml\n!three.yaml\n") })
	testkit.Eventually(t, 20*time.Second, func() error {
		for name, want := range map[string]bool{"one": false, "two": true, "three": true} {
			if _, err := w.configMap(name); (err == nil) != want {
				return fmt.Errorf("ConfigMap %s: %v", name, err)
			}
		}
		return nil
	})
	again := w.untilSource("app", "True", "Succeeded", rev)
	if got := w.archived(again); got != ".sourceignore README.md a/three.yaml a/two.yaml" || again.Status.Artifact.Digest == r.Status.Artifact.Digest {
		t.Errorf("the archive holds %s with digest %s", got, again.Status.Artifact.Digest)
	}
}

func TestSparseCheckoutShowsItsDirectoriesAlone(t *testing.T) {
	w := newWorld(t)
	rev := w.push(map[string]string{"a/one.yaml": configMap("one", "1"), "b/two.yaml": configMap("two", "2")})
	w.repository("app", func(s *sourcev1.GitRepositorySpec) { s.SparseCheckout = []string{"./a"} })
	r := w.untilSource("app", "True", "Succeeded", rev)
	if got := w.archived(r); got != "a/one.yaml" || !slices.Equal(r.Status.ObservedSparseCheckout, []string{"./a"}) {
		t.Errorf("the archive holds %s, observedSparseCheckout = %v", got, r.Status.ObservedSparseCheckout)
	}
	w.edit("app", func(s *sourcev1.GitRepositorySpec) { s.SparseCheckout = []string{"none"} })
	r = w.untilSource("app", "False", "GitOperationFailed", "sparse checkout dir 'none' does not exist")
	if err := hasCondition(r, sourcev1.FetchFailedCondition, "True", "GitOperationFailed"); err != nil || r.Status.Artifact == nil {
		t.Errorf("%v, artifact %v", err, r.Status.Artifact)
	}
}

func TestIncludedRepositoriesAreMountedAndFollowed(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"a/one.yaml": configMap("one", "1"), "lib/two.yaml": configMap("two", "2")})
	w.git("push", "-q", "origin", "HEAD:refs/heads/lib")
	w.repository("app", func(s *sourcev1.GitRepositorySpec) {
		s.Ignore = new("/lib\n")
		s.Include = []sourcev1.GitRepositoryInclude{{GitRepositoryRef: meta.LocalObjectReference{Name: "lib"}, FromPath: "lib", ToPath: "../a/lib"}}
	})
	r := w.untilSource("app", "False", "NotFound", "could not get resource for include 'lib'")
	if err := hasCondition(r, sourcev1.IncludeUnavailableCondition, "True", "NotFound"); err != nil {
		t.Error(err)
	}
	w.repository("lib", func(s *sourcev1.GitRepositorySpec) { s.Reference.Branch = "lib" })
	r = w.untilSource("app", "True", "Succeeded", "stored")
	lib := w.untilSource("lib", "True", "Succeeded", "stored")
	if got := w.archived(r); got != "a/lib/two.yaml a/one.yaml" {
		t.Errorf("the archive holds %s", got)
	}
	if in := r.Status.IncludedArtifacts; len(in) != 1 || in[0].Digest != lib.Status.Artifact.Digest || len(r.Status.ObservedInclude) != 1 {
		t.Errorf("includedArtifacts = %+v", in)
	}
	if c := apimeta.FindStatusCondition(r.Status.Conditions, sourcev1.IncludeUnavailableCondition); c != nil {
		t.Errorf("IncludeUnavailable stays: %+v", c)
	}
	k := w.kustomization("a", nil)
	w.until(k, "True", "Applied")

	w.push(map[string]string{"lib/two.yaml": "", "lib/three.yaml": configMap("three", "3")})
	w.git("push", "-q", "origin", "HEAD:refs/heads/lib")
	w.poke(lib)
	testkit.Eventually(t, 20*time.Second, func() error {
		if _, err := w.configMap("three"); err != nil {
			return err
		}
		if _, err := w.configMap("two"); !apierrors.IsNotFound(err) {
			return fmt.Errorf("ConfigMap two: %v", err)
		}
		return nil
	})

	w.edit("app", func(s *sourcev1.GitRepositorySpec) { s.Include[0].ToPath = "a" })
	r = w.untilSource("app", "False", "CopyFailure", "failed to copy 'lib' include from lib to a")
	if err := hasCondition(r, sourcev1.StorageOperationFailedCondition, "True", "CopyFailure"); err != nil {
		t.Error(err)
	}
}
