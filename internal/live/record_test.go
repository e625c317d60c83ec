package live

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// object is a ConfigMap as the API server would return it, with its k owned by us, or by someone if foreign.
func object(rv int, uid, value string, foreign bool) *unstructured.Unstructured {
	ours := map[string]any{"f:metadata": map[string]any{"f:labels": map[string]any{"f:" + plan.LabelName: map[string]any{}, "f:" + plan.LabelNamespace: map[string]any{}}}}
	theirs := map[string]any{}
	data := map[string]any{"f:k": map[string]any{}}
	if foreign {
		theirs["f:data"] = data
	} else {
		ours["f:data"] = data
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": "a", "namespace": "ns", "uid": uid, "resourceVersion": fmt.Sprint(rv),
			"labels": map[string]any{plan.LabelName: owner.Name, plan.LabelNamespace: owner.Namespace},
			"managedFields": []any{
				map[string]any{"manager": "kustomize-controller", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": ours},
				map[string]any{"manager": "someone", "operation": "Update", "time": "2026-01-01T00:00:01Z", "fieldsV1": theirs},
			},
		},
		"data": map[string]any{"k": value},
	}}
}

// TestWritesAndWatchEventsMayComeInAnyOrder plays what the watch and the applier tell, in every order that the network
// makes of it, without a network.
func TestWritesAndWatchEventsMayComeInAnyOrder(t *testing.T) {
	desired := func(v string) *unstructured.Unstructured {
		u := object(0, "", v, false)
		u.SetManagedFields(nil)
		u.SetResourceVersion("")
		return u
	}
	type step func(c *Cache, s store) string
	asks := func(v string) step {
		return func(c *Cache, _ store) string {
			if _, ok := c.Settled(desired(v)); ok {
				return "settled "
			}
			return "asked "
		}
	}
	left := func(v string, rv int, uid string) step {
		return func(c *Cache, _ store) string { c.Left(owner, desired(v), object(rv, uid, v, false), true); return "" }
	}
	failed := func(v string) step {
		return func(c *Cache, _ store) string { c.Left(owner, desired(v), nil, false); return "" }
	}
	shows := func(v string, rv int, uid string) step {
		return func(c *Cache, s store) string { must(t, s.Update(c.prints.see(object(rv, uid, v, false)))); return "" }
	}
	edited := func(v string, rv int, uid string) step {
		return func(c *Cache, s store) string { must(t, s.Update(c.prints.see(object(rv, uid, v, true)))); return "" }
	}
	deleted := func(v string, rv int, uid string) step {
		return func(c *Cache, s store) string { must(t, s.Delete(c.prints.see(object(rv, uid, v, false)))); return "" }
	}
	listed := func(rv int, objects ...*unstructured.Unstructured) step {
		return func(c *Cache, s store) string {
			var all []any
			for _, u := range objects {
				all = append(all, c.prints.see(u))
			}
			must(t, s.Replace(all, fmt.Sprint(rv)))
			return ""
		}
	}
	released := func(c *Cache, _ store) string {
		c.Released(owner, theID())
		return ""
	}
	drift := func(c *Cache, _ store) string {
		d, ok := c.drifts.take()
		switch {
		case !ok:
			return "quiet "
		case d.Deleted:
			return "gone "
		}
		return "by-" + d.Manager + " "
	}
	for _, tt := range []struct {
		name  string
		steps []step
		want  string
	}{
		{"answer, then event", []step{asks("1"), left("1", 5, "u"), asks("1"), shows("1", 5, "u"), asks("1"), drift}, "asked settled settled quiet "},
		{"event, then answer", []step{asks("1"), shows("1", 5, "u"), drift, left("1", 5, "u"), drift, asks("1")}, "asked quiet quiet settled "},
		{"a second write's event first", []step{asks("1"), left("1", 5, "u"), asks("2"), shows("2", 6, "u"), drift, left("2", 6, "u"), asks("2"), drift}, "asked asked quiet settled quiet "},
		{"the old state's event late", []step{asks("1"), left("1", 5, "u"), asks("2"), left("2", 7, "u"), shows("1", 5, "u"), shows("2", 6, "u"), asks("2"), drift}, "asked asked settled quiet "},
		{"an edit after the answer", []step{asks("1"), left("1", 5, "u"), shows("1", 5, "u"), edited("x", 6, "u"), drift, asks("1")}, "asked by-someone asked "},
		{"an edit between write and answer", []step{asks("1"), shows("1", 5, "u"), edited("x", 6, "u"), drift, left("1", 5, "u"), drift, asks("1")}, "asked quiet by-someone asked "},
		{"an edit, told once", []step{asks("1"), left("1", 5, "u"), edited("x", 6, "u"), drift, edited("x", 7, "u"), drift, edited("y", 8, "u"), drift}, "asked by-someone quiet quiet "},
		{"an edit undone by hand", []step{asks("1"), left("1", 5, "u"), edited("x", 6, "u"), shows("1", 7, "u"), asks("1")}, "asked settled "},
		{"an edit put right before it was told", []step{asks("1"), left("1", 5, "u"), edited("x", 6, "u"), asks("1"), left("1", 7, "u"), drift, asks("1")}, "asked asked quiet settled "},
		{"deleted", []step{asks("1"), left("1", 5, "u"), deleted("1", 6, "u"), drift, asks("1")}, "asked gone asked "},
		{"deleted before our write", []step{asks("1"), left("1", 5, "u"), asks("1"), left("1", 8, "v"), deleted("1", 6, "u"), shows("1", 8, "v"), drift, asks("1")}, "asked settled quiet settled "},
		{"replaced by us", []step{asks("1"), left("1", 5, "u"), asks("2"), deleted("1", 6, "u"), shows("2", 7, "v"), left("2", 7, "v"), drift, asks("2")}, "asked asked quiet settled "},
		{"replaced by someone alike", []step{asks("1"), left("1", 5, "u"), deleted("1", 6, "u"), shows("1", 7, "v"), drift, asks("1")}, "asked by-someone asked "},
		{"pruned by us", []step{asks("1"), left("1", 5, "u"), released, deleted("1", 6, "u"), drift}, "asked quiet "},
		{"a failed write that was none", []step{asks("1"), left("1", 5, "u"), asks("2"), failed("2"), drift, asks("2")}, "asked asked quiet asked "},
		{"a failed write that was one", []step{asks("1"), left("1", 5, "u"), asks("2"), failed("2"), shows("2", 6, "u"), drift}, "asked asked by-someone "},
		{"a relist of the same", []step{asks("1"), left("1", 5, "u"), listed(9, object(5, "u", "1", false)), drift, asks("1")}, "asked quiet settled "},
		{"a relist without it", []step{asks("1"), left("1", 5, "u"), listed(9), drift, asks("1")}, "asked gone asked "},
		{"a stale relist without it", []step{asks("1"), left("1", 5, "u"), listed(4), drift, asks("1")}, "asked quiet settled "},
		{"a relist with an edit", []step{asks("1"), left("1", 5, "u"), listed(9, object(7, "u", "x", true)), drift}, "asked by-someone "},
		{"two applies, the later told first", []step{asks("1"), asks("2"), left("2", 6, "u"), left("1", 5, "u"), drift, asks("2")}, "asked asked quiet settled "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := New(&rest.Config{}, nil, Options{})
			must(t, err)
			k := c.kind(configMaps)
			k.ready = make(chan struct{})
			s := store{k}
			must(t, s.Replace(nil, "1"))
			got := ""
			for _, do := range tt.steps {
				got += do(c, s)
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestNothingIsSettledWithoutAHealthyWatch(t *testing.T) {
	c, err := New(&rest.Config{}, nil, Options{})
	must(t, err)
	desired, answer := object(0, "", "1", false), object(5, "u", "1", false)
	settled := func() bool {
		_, ok := c.Settled(desired)
		if !ok {
			c.Left(owner, desired, answer, true)
		}
		return ok
	}
	k := c.kind(configMaps)
	settled()
	if settled() {
		t.Error("settled before the first list")
	}
	k.ready = make(chan struct{})
	must(t, store{k}.Replace([]any{c.prints.see(answer)}, "5"))
	if !settled() {
		t.Error("not settled after the first list")
	}
	for name, breaks := range map[string]func(){
		"refused":   func() { k.opened(errUnsynced) },
		"cut":       func() { k.lost(nil) },
		"relisting": func() { k.relisting() },
	} {
		breaks()
		if settled() {
			t.Errorf("settled while the watch is %s", name)
		}
		if _, known := c.Verdict(theID()); known {
			t.Errorf("a verdict while the watch is %s", name)
		}
		must(t, store{k}.Replace([]any{c.prints.see(answer)}, "5"))
		if !settled() {
			t.Errorf("not settled after it was %s", name)
		}
	}
}

func theID() inventory.ID { return inventory.IDOf(object(0, "", "", false)) }
