package local

import (
	"context"
	"errors"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-gitops/sluice/internal/onboard"
)

const (
	platformURL = "http://127.0.0.1:1/gitops.git"
	headNow     = "main@sha1:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	headBefore  = "main@sha1:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func repo(change func(*sourcev1.GitRepository)) *sourcev1.GitRepository {
	r := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "flux-system", Generation: 1}}
	r.Spec.URL, r.Spec.Reference = platformURL, &sourcev1.GitRepositoryRef{Branch: branch}
	r.Status.ObservedGeneration, r.Status.Artifact = 1, &meta.Artifact{Revision: headNow}
	r.Status.Conditions = []metav1.Condition{{Type: meta.ReadyCondition, Status: metav1.ConditionTrue}}
	if change != nil {
		change(r)
	}
	return r
}

func kustomization(change func(*kustomizev1.Kustomization)) *kustomizev1.Kustomization {
	k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "apps", Generation: 2}}
	k.Spec.SourceRef = kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "flux-system"}
	k.Status.ObservedGeneration, k.Status.LastAppliedRevision = 2, headNow
	k.Status.Conditions = []metav1.Condition{{Type: meta.ReadyCondition, Status: metav1.ConditionTrue}}
	if change != nil {
		change(k)
	}
	return k
}

func TestSyncedSaysWhatIsMissing(t *testing.T) {
	condition := func(kind string, status metav1.ConditionStatus, message string) []metav1.Condition {
		return []metav1.Condition{{Type: kind, Status: status, Message: message}}
	}
	for name, tt := range map[string]struct {
		repo func(*sourcev1.GitRepository)
		ks   func(*kustomizev1.Kustomization)
		want string
	}{
		"all good":        {nil, nil, ""},
		"no revision":     {func(r *sourcev1.GitRepository) { r.Status.Artifact = nil }, nil, "no revision yet"},
		"an old revision": {func(r *sourcev1.GitRepository) { r.Status.Artifact.Revision = headBefore }, nil, "main@sha1:bbbbbbbb, not yet at main@sha1:aaaaaaaa"},
		"pinned to a commit": {func(r *sourcev1.GitRepository) {
			r.Spec.Reference.Commit = "bbbb"
			r.Status.Artifact.Revision = headBefore
		}, func(k *kustomizev1.Kustomization) { k.Status.LastAppliedRevision = headBefore }, ""},
		"another repository": {func(r *sourcev1.GitRepository) {
			r.Spec.URL = "https://example.com/x"
			r.Status.Artifact.Revision = headBefore
		}, func(k *kustomizev1.Kustomization) { k.Status.LastAppliedRevision = headBefore }, ""},
		"never looked at": {nil, func(k *kustomizev1.Kustomization) { k.Status = kustomizev1.KustomizationStatus{} }, "waiting to be reconciled"},
		"an old verdict":  {nil, func(k *kustomizev1.Kustomization) { k.Generation = 3 }, "waiting to be reconciled"},
		"an open request": {nil, func(k *kustomizev1.Kustomization) {
			k.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "t"}
		}, "waiting to be reconciled"},
		"a request seen to": {nil, func(k *kustomizev1.Kustomization) {
			k.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "t"}
			k.Status.LastHandledReconcileAt = "t"
		}, ""},
		"applied before": {nil, func(k *kustomizev1.Kustomization) { k.Status.LastAppliedRevision = headBefore }, "has applied main@sha1:bbbbbbbb"},
		"not ready": {nil, func(k *kustomizev1.Kustomization) {
			k.Status.Conditions = condition(meta.ReadyCondition, metav1.ConditionFalse, "vault:\n no")
		}, "Kustomization/flux-system/apps: vault: no"},
		"suspended": {nil, func(k *kustomizev1.Kustomization) {
			k.Spec.Suspend = true
			k.Status = kustomizev1.KustomizationStatus{}
		}, ""},
		"stalled, to be told": {nil, func(k *kustomizev1.Kustomization) {
			k.Status.Conditions = condition(meta.StalledCondition, metav1.ConditionTrue, "bad CEL")
		}, "bad CEL"},
	} {
		t.Run(name, func(t *testing.T) {
			c := fake.NewClientBuilder().WithScheme(onboard.Scheme()).WithObjects(repo(tt.repo), kustomization(tt.ks)).Build()
			err := synced(context.Background(), c, platformURL, headNow)
			if (tt.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			var stalled *stalledError
			if errors.As(err, &stalled) != strings.HasPrefix(name, "stalled") {
				t.Errorf("stalled: %v", err)
			}
		})
	}
}

func TestAnEmptyClusterIsNotSynced(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(onboard.Scheme()).WithObjects(repo(nil)).Build()
	if err := synced(context.Background(), client.Reader(c), platformURL, headNow); err == nil {
		t.Error("a cluster without Kustomizations counts as synced")
	}
}
