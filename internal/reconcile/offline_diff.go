package reconcile

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
	"github.com/sluice-gitops/sluice/internal/plan"
	"github.com/sluice-gitops/sluice/internal/redact"
)

// What applying would do to an object, in Flux's words.
const (
	DiffCreated = "created"
	DiffDrifted = "drifted"
	DiffDeleted = "deleted"
	DiffUnknown = "unknown" // its values are sealed, and so is the name that is made of them
)

// Difference is one object that is not as the manifests say. No value of a Secret stands in it.
type Difference struct {
	Object string // Kind/namespace/name
	Action string // one of the above
	Fields []FieldChange
}

// FieldChange is one field that applying would change. Before and After are YAML or JSON, empty for an absent field.
type FieldChange struct{ Path, Before, After string }

// secretMask stands where a value of a Secret would be.
const secretMask = "***"

// Compare asks the API server, by server-side dry-run, what applying the objects that obj renders to would change, and
// looks into obj's inventory for what would be deleted. It changes nothing.
func (o Offline) Compare(ctx context.Context, c client.Client, obj *Kustomization, objects []*unstructured.Unstructured) ([]Difference, error) {
	owned, err := inventory.FromStatus(obj.Status.Inventory)
	if err != nil {
		return nil, err
	}
	hidden := redact.New(secretValues(objects)...)
	namespaces, desired := map[string]bool{}, map[inventory.ID]bool{}
	for _, u := range objects {
		desired[inventory.IDOf(u)] = true
		if u.GroupVersionKind().GroupKind().String() == "Namespace" {
			namespaces[u.GetName()] = true
		}
	}
	var out []Difference
	paired := map[inventory.ID]bool{}
	for _, u := range objects {
		if twin, ok := sealedTwin(u, owned, desired); ok {
			paired[twin] = true
			out = append(out, Difference{Object: inventory.IDOf(u).Display(), Action: DiffUnknown})
			continue
		}
		d, err := compareOne(ctx, c, u, namespaces)
		if err != nil {
			return nil, &fault.Fault{Code: "SLU-APPLY-090", Hop: fault.HopApply, Object: inventory.IDOf(u).Display(), Seen: "the API server would not take it",
				Why: hidden.Redact(err.Error()), Fix: "correct the manifest, or the rights of your user"}
		}
		if d != nil {
			out = append(out, *d)
		}
	}
	for _, e := range owned.Entries() {
		if obj.Spec.Prune && !desired[e.ID] && !paired[e.ID] {
			gone, err := wouldPrune(ctx, c, e)
			if err != nil {
				return nil, err
			}
			if gone {
				out = append(out, Difference{Object: e.Display(), Action: DiffDeleted})
			}
		}
	}
	return out, nil
}

func compareOne(ctx context.Context, c client.Client, u *unstructured.Unstructured, namespaces map[string]bool) (*Difference, error) {
	ask := plan.Ask(u)
	if ask == plan.AskNothing {
		return nil, nil
	}
	created := &Difference{Object: inventory.IDOf(u).Display(), Action: DiffCreated}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(u.GroupVersionKind())
	err := c.Get(ctx, client.ObjectKeyFromObject(u), live)
	if apimeta.IsNoMatchError(err) {
		return created, nil // its definition comes with it, or is missing: then the controller says so
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	exists := err == nil
	if exists && ask == plan.AskExistence {
		return nil, nil
	}
	merged := u.DeepCopy()
	err = c.Apply(ctx, client.ApplyConfigurationFromUnstructured(merged), client.DryRunAll, client.ForceOwnership, client.FieldOwner(applyFieldManager))
	switch {
	case err == nil:
	case apierrors.IsNotFound(err) && namespaces[u.GetNamespace()]:
		return created, nil
	default:
		return nil, err
	}
	if !exists {
		return created, nil
	}
	fields := changes(live, merged)
	if len(fields) == 0 {
		return nil, nil
	}
	return &Difference{Object: created.Object, Action: DiffDrifted, Fields: fields}, nil
}

// wouldPrune says whether the object is there and its owner would delete it.
func wouldPrune(ctx context.Context, c client.Client, e inventory.Entry) (bool, error) {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(e.GroupKind().WithVersion(e.Version))
	err := c.Get(ctx, client.ObjectKey{Namespace: e.Namespace, Name: e.Name}, live)
	if apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", e.Display(), err)
	}
	for _, m := range []map[string]string{live.GetLabels(), live.GetAnnotations()} {
		if strings.EqualFold(m[plan.Group+"/prune"], "disabled") || strings.EqualFold(m[plan.Group+"/reconcile"], "disabled") {
			return false, nil
		}
	}
	return true, nil
}

// hashSuffix is what generators append to a name.
var hashSuffix = lazyregexp.New(`^(.+)-[2456789bcdfghkmt]{10}$`)

// sealedTwin finds the owned Secret that u is a new state of, where u's name is made of values that are sealed here and
// can't be the name that the controller gives it.
func sealedTwin(u *unstructured.Unstructured, owned inventory.Set, desired map[inventory.ID]bool) (inventory.ID, bool) {
	name := hashSuffix.FindStringSubmatch(u.GetName())
	if u.GetKind() != "Secret" || name == nil || !holdsMask(u.Object) {
		return inventory.ID{}, false
	}
	for _, e := range owned.Entries() {
		other := hashSuffix.FindStringSubmatch(e.Name)
		if e.Kind == "Secret" && e.Namespace == u.GetNamespace() && other != nil && other[1] == name[1] && !desired[e.ID] {
			return e.ID, true
		}
	}
	return inventory.ID{}, false
}

func holdsMask(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			if holdsMask(x) {
				return true
			}
		}
	case []any:
		for _, x := range v {
			if holdsMask(x) {
				return true
			}
		}
	case string:
		return strings.Contains(v, Mask) || v == base64.StdEncoding.EncodeToString([]byte(Mask))
	}
	return false
}

// secretValues are the values of all Secrets among the objects, as they could stand in an error.
func secretValues(objects []*unstructured.Unstructured) (values [][]byte) {
	for _, u := range objects {
		if u.GetKind() != "Secret" {
			continue
		}
		for _, field := range []string{"data", "stringData"} {
			m, _, _ := unstructured.NestedMap(u.Object, field)
			for _, v := range m {
				text, _ := v.(string)
				plain, err := base64.StdEncoding.DecodeString(text)
				if field == "stringData" || err != nil {
					plain = []byte(text)
				}
				if len(plain) > 0 {
					values = append(values, plain)
				}
			}
		}
	}
	return values
}

// ErrDiffers says that a comparison found something. It is the answer no, not a failure.
var ErrDiffers = errors.New("identified at least one change")
