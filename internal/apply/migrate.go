package apply

import (
	"context"
	"encoding/json"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// undeclared recognises a dry-run that fails because managedFields speak of a version without a field that the object
// has by now: a definition brought a newer version with a field that has a default, and the API server reads the old
// entries with the old schema (Flux's gate MigrateAPIVersion).
func undeclared(err error) bool {
	return err != nil && strings.Contains(err.Error(), "field not declared in schema")
}

// migrate makes every entry of the object's managedFields speak of the version given, and says whether any did not.
// Flux does so at every apply that finds another version; here it takes a dry-run that failed for it.
func (t target) migrate(ctx context.Context, apiVersion, manager string) (bool, error) {
	m, err := t.look(ctx)
	if err != nil || m == nil {
		return false, err
	}
	entries := speakOf(m.ManagedFields, apiVersion)
	if entries == nil {
		return false, nil
	}
	patch := []patchOp{{"replace", managedFields, entries}, {"replace", "/metadata/resourceVersion", m.ResourceVersion}}
	body, err := json.Marshal(patch)
	if err != nil {
		return false, err
	}
	_, err = t.objects.Patch(ctx, t.name, types.JSONPatchType, body, metav1.PatchOptions{FieldManager: manager})
	return err == nil, err
}
