package reconcile

import (
	"context"
	"maps"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// variables collects what postBuild substitutes: later entries of substituteFrom win over earlier ones, and inline
// values win over all. secrets are the values that came from Secrets and must be redacted.
func (k *Kustomizations) variables(ctx context.Context, obj *Kustomization) (vars map[string]string, secrets [][]byte, err error) {
	pb := obj.Spec.PostBuild
	if pb == nil {
		return nil, nil, nil
	}
	vars = map[string]string{}
	for _, ref := range pb.SubstituteFrom {
		key := client.ObjectKey{Namespace: obj.Namespace, Name: ref.Name}
		switch ref.Kind {
		case "ConfigMap":
			var cm corev1.ConfigMap
			if err = k.Reader.Get(ctx, key, &cm); err == nil {
				maps.Copy(vars, cm.Data)
			}
		case "Secret":
			var s corev1.Secret
			if err = k.Reader.Get(ctx, key, &s); err == nil {
				for name, value := range s.Data {
					vars[name] = string(value)
					secrets = append(secrets, value)
				}
			}
		}
		if err != nil && (!ref.Optional || !apierrors.IsNotFound(err)) {
			return nil, nil, &fault.Fault{
				Code: "SLU-RENDER-090", Hop: fault.HopRender, Object: "Kustomization/" + obj.Namespace + "/" + obj.Name,
				Seen: "spec.postBuild.substituteFrom: " + ref.Kind + " '" + key.String() + "' cannot be read", Why: err.Error(),
				Fix:    "create the " + ref.Kind + ", or mark the reference optional: true",
				Reason: meta.BuildFailedReason, Err: err,
			}
		}
		err = nil
	}
	maps.Copy(vars, pb.Substitute)
	return vars, secrets, nil
}
