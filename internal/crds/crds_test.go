package crds

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

func TestEveryKindIsServedAsV1AndV1beta2WithV1Stored(t *testing.T) {
	want := map[string]struct{ short, columns string }{
		"gitrepositories.source.toolkit.fluxcd.io":   {"gitrepo", "URL Age Ready Status "},
		"kustomizations.kustomize.toolkit.fluxcd.io": {"ks", "Age Ready Status "},
	}
	all := All()
	if len(all) != len(want) {
		t.Fatalf("%d definitions, want %d", len(all), len(want))
	}
	for _, def := range all {
		w, ok := want[def.Name]
		if !ok {
			t.Errorf("unexpected definition %s", def.Name)
			continue
		}
		if got := def.Spec.Names.ShortNames; len(got) != 1 || got[0] != w.short {
			t.Errorf("%s: short names %v, want %s", def.Name, got, w.short)
		}
		served := ""
		for _, v := range def.Spec.Versions {
			served += v.Name + " "
			columns := ""
			for _, c := range v.AdditionalPrinterColumns {
				columns += c.Name + " "
			}
			if columns != w.columns {
				t.Errorf("%s %s: columns %q, want %q", def.Name, v.Name, columns, w.columns)
			}
			if !v.Served || v.Storage != (v.Name == "v1") || v.Subresources.Status == nil {
				t.Errorf("%s %s: served %t, stored %t, subresources %v", def.Name, v.Name, v.Served, v.Storage, v.Subresources)
			}
			if got := string(v.Schema.OpenAPIV3Schema.Properties["status"].Default.Raw); got != `{"observedGeneration":-1}` {
				t.Errorf("%s %s: status default %s", def.Name, v.Name, got)
			}
		}
		if served != "v1 v1beta2 " {
			t.Errorf("%s serves %q", def.Name, served)
		}
	}
}

func TestDeprecatedFieldsAreKeptInBothVersionsAndDefaultedInNone(t *testing.T) {
	deprecated := map[string][]string{
		"GitRepository": {"gitImplementation", "accessFrom"},
		"Kustomization": {"patchesStrategicMerge", "patchesJson6902", "validation"},
	}
	for _, def := range All() {
		for _, v := range def.Spec.Versions {
			spec := v.Schema.OpenAPIV3Schema.Properties["spec"]
			for _, name := range deprecated[def.Spec.Names.Kind] {
				p, ok := spec.Properties[name]
				if !ok || p.Default != nil {
					t.Errorf("%s %s: spec.%s present %t, default %v", def.Name, v.Name, name, ok, p.Default)
				}
			}
		}
	}
}

func TestNoUpstreamDescriptionIsLeft(t *testing.T) {
	var walk func(path string, s apiextensionsv1.JSONSchemaProps)
	walk = func(path string, s apiextensionsv1.JSONSchemaProps) {
		if s.Description != "" && s.Description != "Of v1beta2: kept when present, never defaulted." {
			t.Errorf("%s: %q", path, s.Description)
		}
		for name, p := range s.Properties {
			walk(path+"."+name, p)
		}
		if s.Items != nil {
			walk(path+"[]", *s.Items.Schema)
		}
	}
	for _, def := range All() {
		for _, v := range def.Spec.Versions {
			for name, p := range v.Schema.OpenAPIV3Schema.Properties {
				walk(def.Spec.Names.Kind+"."+name, p)
			}
		}
	}
}

func TestAllHandsOutCopies(t *testing.T) {
	All()[0].Name = "changed"
	if All()[0].Name == "changed" {
		t.Error("a caller changed the embedded definitions")
	}
}
