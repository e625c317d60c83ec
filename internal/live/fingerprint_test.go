package live

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const base = `
apiVersion: v1
kind: Thing
metadata:
  name: a
  managedFields:
  - {manager: kustomize-controller, operation: Apply, time: "2026-01-01T00:00:00Z", fieldsV1: {
      "f:metadata": {"f:labels": {"f:l": {}}},
      "f:spec": {"f:atom": {}, "f:empty": {}, "f:none": {}, "f:map": {".": {}, "f:x": {}}, "f:set": {'v:"s"': {}, "v:7": {}},
        "f:ports": {'k:{"port":80,"proto":"TCP"}': {".": {}, "f:port": {}, "f:name": {}}, 'k:{"port":81,"proto":"TCP"}': {".": {}, "f:port": {}}},
        "f:rows": {"i:1": {"f:x": {}}}}}}
  - {manager: other, operation: Update, time: "2026-01-01T00:00:00Z", fieldsV1: {"f:spec": {"f:empty": {"f:theirs": {}}, "f:none": {'k:{"n":1}': {}}}}}
  - {manager: kustomize-controller, operation: Apply, subresource: status, fieldsV1: {"f:status": {"f:phase": {}}}}
  labels: {l: "1"}
spec:
  atom: {x: 1, y: [1, 2.5, true, null]}
  empty: {}
  none: []
  map: {x: 1}
  set: [s, 7]
  ports: [{port: 80, proto: TCP, name: web}, {port: 81, proto: TCP}]
  rows: [{x: 0}, {x: 1}]
status: {phase: New}`

func TestTheFingerprintIsOfWhatWeOwn(t *testing.T) {
	p := newPrinter("kustomize-controller")
	parse := func(text string) *unstructured.Unstructured {
		t.Helper()
		raw, err := yaml.YAMLToJSON([]byte(text))
		must(t, err)
		u := &unstructured.Unstructured{}
		must(t, u.UnmarshalJSON(raw))
		return u
	}
	want := p.live(parse(base))
	if newPrinter("kustomize-controller").live(parse(base)) == want {
		t.Error("another process makes the same fingerprint")
	}
	for _, tt := range []struct {
		name string
		edit string // a merge into the object
		same bool
	}{
		{"nothing", `{}`, true},
		{"status", `{"status":{"phase":"Old"}}`, true},
		{"bookkeeping", `{"metadata":{"resourceVersion":"7","generation":2,"uid":"u"}}`, true},
		{"a field that nobody owns", `{"spec":{"new":1}}`, true},
		{"a sibling in a map of ours", `{"spec":{"map":{"x":1,"y":1}}}`, true},
		{"another's field in a map that we left empty", `{"spec":{"empty":{"theirs":1}}}`, true},
		{"another's item in a list that we left empty", `{"spec":{"none":[{"n":1}]}}`, true},
		{"another item in a set", `{"spec":{"set":["t","s",7]}}`, true},
		{"another item in a keyed list", `{"spec":{"ports":[{"port":79,"proto":"TCP"},{"port":80,"proto":"TCP","name":"web"},{"port":81,"proto":"TCP"}]}}`, true},
		{"another field of an item", `{"spec":{"ports":[{"port":80,"proto":"TCP","name":"web","node":1},{"port":81,"proto":"TCP"}]}}`, true},
		{"another row", `{"spec":{"rows":[{"x":9},{"x":1}]}}`, true},
		{"a label", `{"metadata":{"labels":{"l":"2"}}}`, false},
		{"inside an atom", `{"spec":{"atom":{"y":[1,2.5,true,0]}}}`, false},
		{"something unowned in a map that we left empty", `{"spec":{"empty":{"nobodys":1}}}`, false},
		{"a value", `{"spec":{"map":{"x":2}}}`, false},
		{"another type", `{"spec":{"map":{"x":"1"}}}`, false},
		{"a value, gone", `{"spec":{"map":{"x":null}}}`, false},
		{"an item of a set, gone", `{"spec":{"set":["s"]}}`, false},
		{"an item's field", `{"spec":{"ports":[{"port":80,"proto":"TCP","name":"www"},{"port":81,"proto":"TCP"}]}}`, false},
		{"an item, gone", `{"spec":{"ports":[{"port":80,"proto":"TCP","name":"web"}]}}`, false},
		{"the order of items", `{"spec":{"ports":[{"port":81,"proto":"TCP"},{"port":80,"proto":"TCP","name":"web"}]}}`, false},
		{"a row", `{"spec":{"rows":[{"x":0},{"x":2}]}}`, false},
		{"no spec", `{"spec":null}`, false},
		{"a mark", `{"metadata":{"annotations":{"kustomize.toolkit.fluxcd.io/reconcile":"disabled"}}}`, false},
		{"what kubectl leaves", `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"}}}`, false},
		{"what Flux v1 leaves", `{"metadata":{"labels":{"fluxcd.io/sync-gc-mark":"x"}}}`, false},
		{"what we own", `{"metadata":{"managedFields":[]}}`, false},
	} {
		u := parse(base)
		var edit map[string]any
		must(t, json.Unmarshal([]byte(tt.edit), &edit))
		merge(u.Object, edit)
		raw, err := u.MarshalJSON()
		must(t, err)
		again := &unstructured.Unstructured{}
		must(t, again.UnmarshalJSON(raw)) // numbers as the API server's answers have them
		if same := p.live(again) == want; same != tt.same {
			t.Errorf("%s: the same fingerprint: %t, want %t", tt.name, same, tt.same)
		}
	}
}

// merge is a JSON merge patch.
func merge(into, patch map[string]any) {
	for k, v := range patch {
		sub, isMap := v.(map[string]any)
		old, wasMap := into[k].(map[string]any)
		switch {
		case v == nil:
			delete(into, k)
		case isMap && wasMap:
			merge(old, sub)
		default:
			into[k] = v
		}
	}
}

// FuzzSighting: whatever a server sends as an object, taking its sighting neither fails nor depends on the order of keys,
// which a second decoding may change.
func FuzzSighting(f *testing.F) {
	seeds, err := filepath.Glob("testdata/sightings/*.json")
	must(f, err)
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, path := range seeds {
		raw, err := os.ReadFile(path)
		must(f, err)
		f.Add(raw)
	}
	p := newPrinter("kustomize-controller")
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, b := &unstructured.Unstructured{}, &unstructured.Unstructured{}
		if a.UnmarshalJSON(raw) != nil {
			return
		}
		must(t, b.UnmarshalJSON(raw))
		if x, y := p.see(a), p.see(b); x.print != y.print || x.whole != y.whole || p.desired(a) != p.desired(b) {
			t.Errorf("two digests of %s", raw)
		}
	})
}
