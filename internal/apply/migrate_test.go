package apply

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/plan"
)

const (
	gadgets = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: gadgets.migrate.example.com}, spec: {
  group: migrate.example.com, scope: Namespaced, names: {kind: Gadget, plural: gadgets}, versions: [VERSIONS]}}`
	gadgetV1 = `{name: v1, served: true, storage: OLD, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {list: {type: array, items: {type: object, properties: {
  e: {type: object, properties: {a: {type: string}}}}}}}}}}}}`
	gadgetV2 = `{name: v2, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {list: {type: array, items: {type: object, properties: {
  e: {type: object, properties: {a: {type: string}, b: {type: string, default: x}}}}}}}}}}}}`
	gadget = `{apiVersion: migrate.example.com/V, kind: Gadget, metadata: {name: g, namespace: NS}, spec: {list: [{e: {a: "1"}}]}}`
)

func TestManagedFieldsOfAnOldVersionAreMigratedWhereADryRunFailsForThem(t *testing.T) {
	b := setUp(t)
	inV := func(v string) string { return strings.Replace(gadget, "/V,", "/"+v+",", 1) }
	definition := func(versions string) string { return strings.Replace(gadgets, "VERSIONS", versions, 1) }
	old := definition(strings.Replace(gadgetV1, "OLD", "true", 1))
	b.must(old + "\n---\n" + inV("v1"))
	older := strings.Replace(strings.Replace(gadgetV1, "OLD", "false", 1), "served: true", "served: false", 1) + ", "
	b.must(definition(older+strings.Replace(gadgetV2, ", b: {type: string, default: x}", "", 1)) + "\n---\n" + inV("v2")) // writes no gadget
	path := "/apis/migrate.example.com/v2/namespaces/" + b.ns + "/gadgets/g"
	_, err := b.kube.RESTClient().Patch(types.MergePatchType).AbsPath(path).Param("fieldManager", "migrator").
		Body([]byte(`{"metadata":{"annotations":{"stored":"anew"}}}`)).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := definition(older+gadgetV2) + "\n---\n" + inV("v2")
	b.must(definition(older+gadgetV2), noPrune)
	eventually(t, func() bool { // the default is there
		raw, err := b.kube.RESTClient().Get().AbsPath(path).DoRaw(t.Context())
		return err == nil && strings.Contains(string(raw), `"b":"x"`)
	})
	if _, err := b.run(all, noPrune); err == nil || !strings.Contains(err.Error(), "field not declared in schema") {
		t.Fatalf("without the gate: %v", err)
	}
	b.apply.MigrateAPIVersion = true
	b.must(all, noPrune)
	if got := actions(b.must(all, noPrune)); !strings.Contains(got, "Gadget/g unchanged") {
		t.Errorf("once more: %s", got)
	}
	b.must("") // the definition is everybody's
}

func TestNamedKindsAreAppliedBeforeTheResources(t *testing.T) {
	b := setUp(t)
	early, err := plan.ParseGroupKinds("apps/Deployment")
	if err != nil {
		t.Fatal(err)
	}
	b.must(cmA+"\n---\n"+`{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: NS}, spec: {selector: {matchLabels: {a: b}},
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}`, func(o *plan.Options) { o.Early = early })
	if got := strings.Join(b.told, ", "); !strings.HasPrefix(got, "Deployment/") || !strings.Contains(got, "ConfigMap/") {
		t.Errorf("order: %s", got)
	}
}
