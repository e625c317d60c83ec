package reconcile

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// newExternal returns an empty object of a source kind that others reconcile, nil for any other kind.
func newExternal(kind string) externalSource {
	switch kind {
	case sourcev1.OCIRepositoryKind:
		return &sourcev1.OCIRepository{}
	case sourcev1.BucketKind:
		return &sourcev1.Bucket{}
	case sourcev1.ExternalArtifactKind:
		return &sourcev1.ExternalArtifact{}
	}
	return nil
}

// externalSource is what OCIRepository, Bucket and ExternalArtifact have in common.
type externalSource interface {
	client.Object
	GetArtifact() *meta.Artifact
	GetConditions() []metav1.Condition
}

// externalState says why a source that others reconcile has no revision here. Both texts are empty while its artifact
// is being downloaded.
func externalState(ctx context.Context, c client.Reader, key sourceKey) (why, fix string, err error) {
	obj := newExternal(key.Kind)
	if obj == nil {
		return fmt.Sprintf("%q is no kind of source", key.Kind), "correct spec.sourceRef.kind", nil
	}
	switch err := c.Get(ctx, key.NamespacedName, obj); {
	case apimeta.IsNoMatchError(err):
		return "the cluster has no " + key.Kind + " in " + sourcev1.GroupVersion.String(),
			"install the controller that makes them, or correct spec.sourceRef", nil
	case apierrors.IsNotFound(err):
		return key.Kind + "/" + key.NamespacedName.String() + " does not exist", "correct spec.sourceRef, or add it", nil
	case err != nil:
		return "", "", err
	}
	if obj.GetArtifact() != nil {
		return "", "", nil
	}
	if ready := apimeta.FindStatusCondition(obj.GetConditions(), meta.ReadyCondition); ready != nil && ready.Status == metav1.ConditionFalse {
		return ready.Message, "kubectl describe " + key.Kind + " " + key.Name + " -n " + key.Namespace, nil
	}
	return key.Kind + "/" + key.NamespacedName.String() + " has no artifact yet", "look whether its controller runs", nil
}
