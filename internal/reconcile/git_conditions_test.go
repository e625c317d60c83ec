package reconcile

import (
	"strings"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// Flux sets ArtifactOutdated when it sees that a remote has moved, and takes it away when the new artifact is stored.
// Whoever watches must never see it here: both are one write.
func TestNoStatusOfAGitRepositorySaysThatItsArtifactIsOutdated(t *testing.T) {
	w := newWorld(t)
	c, err := client.NewWithWatch(testkit.Cluster(t).Config, client.Options{Scheme: newScheme()})
	if err != nil {
		t.Fatal(err)
	}
	seen, err := c.Watch(t.Context(), &sourcev1.GitRepositoryList{}, client.InNamespace(w.namespace))
	if err != nil {
		t.Fatal(err)
	}
	defer seen.Stop()
	w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	w.source()
	w.untilSource("app", "True", "Succeeded", "stored")
	last := w.push(map[string]string{"a/one.yaml": configMap("one", "2")})
	for deadline := time.After(30 * time.Second); ; {
		select {
		case e := <-seen.ResultChan():
			r, ok := e.Object.(*sourcev1.GitRepository)
			if !ok {
				t.Fatalf("%s %v", e.Type, e.Object)
			}
			if o := apimeta.FindStatusCondition(r.Status.Conditions, sourcev1.ArtifactOutdatedCondition); o != nil {
				t.Errorf("%+v", o)
			}
			if a := r.Status.Artifact; a != nil && strings.Contains(a.Revision, last) && r.Status.ObservedGeneration == r.Generation {
				return
			}
		case <-deadline:
			t.Fatal("the second revision was not seen")
		}
	}
}
