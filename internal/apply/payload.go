package apply

import (
	"encoding/json"
	"fmt"

	"github.com/fluxcd/pkg/ssa/normalize"
	ssautils "github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/plan"
)

// payload returns the body of the apply request for u, which is not changed.
//
// It goes through Flux's own normalization (stringData to data, protocols of ports, zero values of typed objects), so
// that the fields we own are exactly those that Flux would own: a cluster changes hands without a write. Beyond Flux,
// what `kubectl get -o yaml` leaves in a manifest and what an apply would be refused for, or undone by the next takeover,
// is left out.
func payload(u *unstructured.Unstructured) ([]byte, error) {
	u = u.DeepCopy()
	for _, field := range []string{"managedFields", "resourceVersion", "uid", "generation", "selfLink"} {
		unstructured.RemoveNestedField(u.Object, "metadata", field)
	}
	for _, l := range plan.Leftovers(u) {
		unstructured.RemoveNestedField(u.Object, "metadata", l.Field, l.Key)
	}
	if err := normalize.UnstructuredList([]*unstructured.Unstructured{u}); err != nil {
		return nil, fmt.Errorf("normalize: %w", err)
	}
	ssautils.RemoveCABundleFromCRD(u)
	return json.Marshal(u.Object)
}

// yield returns the body with which the apply leaves what the plan ignores of the live object as it is.
func (a *Applier) yield(p *plan.Plan, body []byte, l plan.Live) ([]byte, error) {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(body); err != nil {
		return nil, err
	}
	return json.Marshal(p.Ignore.Yield(u, l.Object, l.DryRun, a.FieldManager).Object)
}

// public returns what may be kept and looked at of an object: no data of Secrets, no managedFields.
func public(u *unstructured.Unstructured) *unstructured.Unstructured {
	if u == nil {
		return nil
	}
	unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
	if u.GetKind() == "Secret" && u.GetAPIVersion() == "v1" {
		delete(u.Object, "data")
		delete(u.Object, "stringData")
	}
	return u
}
