package onboard_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/onboard"
)

func TestPublishPushesOnlyWhatIsAdmittedAndInstallAppliesIt(t *testing.T) {
	w := newWorld(t)
	before := w.git.Commit(map[string]string{"README": "mine"})
	r := w.request()
	r.Client = nil // Publish asks no cluster
	no := errors.New("being edited")
	var asked []string
	r.Admit = func(_ context.Context, paths []string) error { asked = paths; return no }
	if _, err := onboard.Publish(t.Context(), r); !errors.Is(err, no) {
		t.Fatalf("got %v", err)
	}
	want := []string{folder + "flux-system/gotk-components.yaml", folder + "flux-system/gotk-sync.yaml", folder + "flux-system/kustomization.yaml"}
	if !slices.Equal(asked, want) {
		t.Errorf("asked for %q", asked)
	}
	if at := w.git.Git("rev-parse", "main"); at != before {
		t.Error("it was pushed all the same")
	}
	r.Admit = func(context.Context, []string) error { return nil }
	p, err := onboard.Publish(t.Context(), r)
	if err != nil || !p.Changed || w.git.Git("rev-parse", "main") != p.Head.Commit {
		t.Fatalf("%+v, %v", p, err)
	}
	r.Admit = func(context.Context, []string) error { t.Error("asked, and nothing changes"); return no }
	if p, err = onboard.Publish(t.Context(), r); err != nil || p.Changed {
		t.Fatalf("a second time: %+v, %v", p, err)
	}
	n, err := p.Install(t.Context(), w.client, w.say)
	if err != nil || n < 10 {
		t.Fatalf("%d objects, %v", n, err)
	}
	if _, err := w.deployment("kustomize-controller"); err != nil {
		t.Error(err)
	}
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: w.namespace}, &sourcev1.GitRepository{}); err != nil {
		t.Error(err)
	}
	w.secret("flux-system")
}
