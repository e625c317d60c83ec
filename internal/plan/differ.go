package plan

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// Changed returns the paths, at most three fields deep and sorted, where an apply would change the live object. Status
// and the bookkeeping of metadata do not count. It names fields and keys, never values.
func Changed(live, merged *unstructured.Unstructured) []string {
	var paths []string
	before, after := Meant(live), Meant(merged)
	walk(before, after, nil, &paths)
	slices.Sort(paths)
	return paths
}

// Meant returns the fields of an object that a manifest can mean: no status, no apiVersion, and of metadata only labels,
// annotations, finalizers and ownerReferences. The values are u's own, to be read alone.
func Meant(u *unstructured.Unstructured) map[string]any {
	fields := maps.Clone(u.Object)
	delete(fields, "status")
	delete(fields, "apiVersion") // the same object, served in another version
	metadata := map[string]any{}
	if all, ok := fields["metadata"].(map[string]any); ok {
		for _, key := range []string{"labels", "annotations", "finalizers", "ownerReferences"} {
			if v, ok := all[key]; ok {
				metadata[key] = v
			}
		}
	}
	fields["metadata"] = metadata
	return fields
}

func walk(before, after map[string]any, path []string, paths *[]string) {
	keys := map[string]bool{}
	for k := range before {
		keys[k] = true
	}
	for k := range after {
		keys[k] = true
	}
	for k := range keys {
		a, b := before[k], after[k]
		if equality.Semantic.DeepEqual(a, b) || empty(a) && empty(b) {
			continue
		}
		at := append(slices.Clone(path), k)
		am, aok := a.(map[string]any)
		bm, bok := b.(map[string]any)
		if aok && bok && len(at) < 3 {
			walk(am, bm, at, paths)
			continue
		}
		*paths = append(*paths, strings.Join(at, "."))
	}
}

// empty says whether a field is as good as absent. The answer to a dry-run and the stored object may differ in that.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

func differ(fields []string) string {
	const named = 4
	if len(fields) == 1 {
		return fields[0] + " differs"
	}
	if len(fields) > named {
		return strings.Join(fields[:named], ", ") + " and more differ"
	}
	return strings.Join(fields, ", ") + " differ"
}

// foreign returns the managers in the entries whose fields are taken over: kubectl in all its roles, and what stood
// before the first server-side apply. Without it, a field that kubectl once set would outlive its removal from Git.
func foreign(entries []metav1.ManagedFieldsEntry, managers []Manager) []string {
	var names []string
	for _, e := range entries {
		if e.Subresource == "" && taken(e, managers) && !slices.Contains(names, e.Manager) {
			names = append(names, e.Manager)
		}
	}
	return names
}

// Manager is a field manager, by prefix, whose fields the applying manager takes over.
type Manager struct {
	Prefix    string
	Operation metav1.ManagedFieldsOperationType
}

// TakenOver are Flux's: kubectl's, the API server's stand-in for managers before the first apply, and the controller's
// own from before it applied server-side.
var TakenOver = []Manager{
	{"kubectl", metav1.ManagedFieldsOperationApply},
	{"kubectl", metav1.ManagedFieldsOperationUpdate},
	{"before-first-apply", metav1.ManagedFieldsOperationUpdate},
	{"kustomize-controller", metav1.ManagedFieldsOperationUpdate},
}

// Managers are those whose fields the plan takes over.
func (o Options) Managers() []Manager {
	if o.TakeOver == nil {
		return TakenOver
	}
	return o.TakeOver
}

// Overriding returns TakenOver and the managers of --override-manager, in both operations.
func Overriding(names []string) []Manager {
	all := slices.Clone(TakenOver)
	for _, name := range names {
		all = append(all, Manager{name, metav1.ManagedFieldsOperationApply}, Manager{name, metav1.ManagedFieldsOperationUpdate})
	}
	return all
}

func taken(e metav1.ManagedFieldsEntry, managers []Manager) bool {
	return slices.ContainsFunc(managers, func(m Manager) bool {
		return e.Operation == m.Operation && strings.HasPrefix(e.Manager, m.Prefix)
	})
}

// Leftover is a key that an earlier applier left in an object's metadata.
type Leftover struct {
	Field string // "annotations" or "labels"
	Key   string
}

// String is what people know it by.
func (l Leftover) String() string { return l.Key }

// leftovers are those that Flux removes too. kubectl's annotation holds the whole manifest, secret values included; the
// others are Flux v1's and early v2's.
var leftovers = []Leftover{
	{"annotations", "kubectl.kubernetes.io/last-applied-configuration"},
	{"annotations", "kustomize.toolkit.fluxcd.io/checksum"},
	{"annotations", "fluxcd.io/sync-checksum"},
	{"labels", "fluxcd.io/sync-gc-mark"},
}

// Leftovers returns what earlier appliers left in the object's metadata and that is removed.
func Leftovers(object metav1.Object) []Leftover {
	var found []Leftover
	for _, l := range leftovers {
		in := object.GetAnnotations()
		if l.Field == "labels" {
			in = object.GetLabels()
		}
		if _, ok := in[l.Key]; ok {
			found = append(found, l)
		}
	}
	return found
}

// immutable recognises the words that API servers, CEL rules and webhooks use for fields that can't change.
var immutable = lazyregexp.New(`(?i)immutable|may not (be )?(change|update|modif)|cannot (be )?(change|update|modif)|can't be changed|` +
	`updates? to .*(forbidden|not allowed)|forbidden: .*updates? |once set|may not change fields`)

// Immutable says whether the object was refused only because fields differ that can't change, so that deleting and
// creating it would help. Flux takes every invalid object for one of those, deletes it, and then can't create it.
func Immutable(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) || apierrors.IsConflict(err) {
		return false
	}
	if apierrors.IsInvalid(err) && status.Status().Details != nil && len(status.Status().Details.Causes) > 0 {
		for _, cause := range status.Status().Details.Causes {
			if !immutable.MatchString(cause.Message) {
				return false
			}
		}
		return true
	}
	return immutable.MatchString(err.Error())
}
