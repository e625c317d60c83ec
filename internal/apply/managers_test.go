package apply

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/fluxcd/pkg/ssa"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/plan"
)

// byIdentity is what an API server makes of managedFields: of two entries with one identity the later counts, and the
// order of fields means nothing.
func byIdentity(t *testing.T, entries []metav1.ManagedFieldsEntry) map[string]any {
	t.Helper()
	all := map[string]any{}
	for _, e := range entries {
		var fields any
		if e.FieldsV1 != nil {
			if err := json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields); err != nil {
				t.Fatal(err)
			}
		}
		all[fmt.Sprint(e.Manager, e.Operation, e.APIVersion, e.Subresource)] = fields
	}
	return all
}

// someFields makes a tree of fields in the format of the API server.
func someFields(r *rand.Rand, depth int) map[string]any {
	f := map[string]any{}
	for range 1 + r.IntN(3) {
		below := map[string]any{}
		if depth > 0 && r.IntN(2) == 0 {
			below = someFields(r, depth-1)
			if r.IntN(2) == 0 {
				below["."] = map[string]any{}
			}
		}
		f[[]string{"f:a", "f:b", `k:{"name":"x"}`, `v:"y"`}[r.IntN(4)]] = below
	}
	return f
}

func someEntries(r *rand.Rand) (entries []metav1.ManagedFieldsEntry) {
	for i := range r.IntN(6) {
		raw, _ := json.Marshal(someFields(r, 3))
		e := metav1.ManagedFieldsEntry{
			Manager:    []string{"kubectl-edit", "kubectl-client-side-apply", "before-first-apply", "kustomize-controller", "helm"}[r.IntN(5)],
			Operation:  []metav1.ManagedFieldsOperationType{metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate}[r.IntN(2)],
			APIVersion: fmt.Sprintf("v%d", i), FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(raw)),
		}
		if r.IntN(6) == 0 {
			e.Subresource = "status"
		}
		if r.IntN(8) == 0 {
			e.FieldsV1 = nil
		}
		entries = append(entries, e)
	}
	return entries
}

func TestFieldsAreTakenOverAsFluxsLibraryDoes(t *testing.T) {
	r, absorbed := rand.New(rand.NewPCG(1, 2)), 0
	var managers []ssa.FieldManager
	for _, m := range plan.TakenOver {
		managers = append(managers, ssa.FieldManager{Name: m.Prefix, OperationType: m.Operation})
	}
	for i := range 3000 {
		u := &unstructured.Unstructured{Object: map[string]any{}}
		u.SetManagedFields(someEntries(r))
		entries := u.GetManagedFields()
		before, _ := json.Marshal(entries)
		got, err := absorb(entries, plan.TakenOver, "kustomize-controller")
		if err != nil {
			t.Fatal(err)
		}
		if after, _ := json.Marshal(entries); string(after) != string(before) {
			t.Fatalf("case %d: the object's own entries changed: %s, were %s", i, after, before)
		}
		ops, err := ssa.PatchReplaceFieldsManagers(u, managers, "kustomize-controller")
		if err != nil {
			t.Fatal(err)
		}
		if len(ops) == 0 != (got == nil) {
			t.Fatalf("case %d: %v, Flux patches %v", i, got, ops)
		}
		if got == nil {
			continue
		}
		absorbed++
		if have, want := byIdentity(t, got), byIdentity(t, ops[0].Value); !reflect.DeepEqual(have, want) {
			t.Fatalf("case %d: of %s\n %v\nFlux makes\n %v", i, before, have, want)
		}
	}
	if absorbed < 500 {
		t.Errorf("only %d of the cases take anything over", absorbed)
	}
}

func TestEntriesSpeakOfANewVersionAsFluxsLibraryMakesThem(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 200 {
		u := &unstructured.Unstructured{Object: map[string]any{}}
		u.SetManagedFields(someEntries(r))
		ops, err := ssa.PatchMigrateToVersion(u, "v0")
		if err != nil {
			t.Fatal(err)
		}
		var want []metav1.ManagedFieldsEntry
		if len(ops) > 0 {
			want = ops[0].Value
		}
		if got := speakOf(u.GetManagedFields(), "v0"); !reflect.DeepEqual(got, want) {
			t.Fatalf("case %d: %v, Flux makes %v", i, got, want)
		}
	}
}

func TestFieldsThatCannotBeReadAreNotTakenOver(t *testing.T) {
	entries := []metav1.ManagedFieldsEntry{
		{Manager: "kubectl-edit", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: metav1.NewFieldsV1(`{"f:a":{}}`)},
		{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: metav1.NewFieldsV1(`{"f:a":1}`)},
	}
	if _, err := absorb(entries, plan.TakenOver, "kustomize-controller"); err == nil {
		t.Error("no error")
	}
}
