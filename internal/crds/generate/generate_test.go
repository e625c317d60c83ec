package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

var update = flag.Bool("update", false, "rewrite crds.yaml")

func TestCommittedDefinitionsAreWhatTheTypesGive(t *testing.T) {
	got, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("..", "crds.yaml")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("crds.yaml is out of date: run go generate ./internal/crds")
	}
}

func props(p map[string]apiextensionsv1.JSONSchemaProps, required ...string) *apiextensionsv1.JSONSchemaProps {
	return &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: p, Required: required}
}

func enum(values ...string) apiextensionsv1.JSONSchemaProps {
	s := apiextensionsv1.JSONSchemaProps{Type: "string"}
	for _, v := range values {
		s.Enum = append(s.Enum, apiextensionsv1.JSON{Raw: []byte(`"` + v + `"`)})
	}
	return s
}

func TestJoinTakesWhateverEitherVersionTook(t *testing.T) {
	def := enum("go-git", "libgit2")
	def.Default = &apiextensionsv1.JSON{Raw: []byte(`"go-git"`)}
	current := props(map[string]apiextensionsv1.JSONSchemaProps{"mode": enum("HEAD", "head"), "new": enum(), "both": enum()}, "mode", "both", "new")
	former := props(map[string]apiextensionsv1.JSONSchemaProps{"mode": enum("head", "old"), "impl": def, "both": enum()}, "both")
	if err := join(current, former, ""); err != nil {
		t.Fatal(err)
	}
	if got := text(current.Properties["mode"].Enum); got != `["HEAD","head","old"]` {
		t.Errorf("enum = %s, want the union", got)
	}
	if impl, ok := current.Properties["impl"]; !ok || impl.Default != nil {
		t.Errorf("impl = %v, want the dropped field back, without its default", text(impl))
	}
	if got := strings.Join(current.Required, " "); got != "both new" {
		t.Errorf("required = %q, want only what both versions require, and what v1beta2 did not have", got)
	}
}

func TestJoinRefusesADifferenceItHasNoRuleFor(t *testing.T) {
	short, long := int64(1), int64(9)
	for name, tt := range map[string]struct {
		is, was apiextensionsv1.JSONSchemaProps
	}{
		"type":      {apiextensionsv1.JSONSchemaProps{Type: "string"}, apiextensionsv1.JSONSchemaProps{Type: "object"}},
		"pattern":   {apiextensionsv1.JSONSchemaProps{Pattern: "a"}, apiextensionsv1.JSONSchemaProps{Pattern: "b"}},
		"maxLength": {apiextensionsv1.JSONSchemaProps{MaxLength: &short}, apiextensionsv1.JSONSchemaProps{MaxLength: &long}},
		"CEL": {
			apiextensionsv1.JSONSchemaProps{XValidations: apiextensionsv1.ValidationRules{{Rule: "has(self.x)"}}},
			apiextensionsv1.JSONSchemaProps{},
		},
		"default": {apiextensionsv1.JSONSchemaProps{Default: &apiextensionsv1.JSON{Raw: []byte("1")}}, apiextensionsv1.JSONSchemaProps{}},
	} {
		err := join(props(map[string]apiextensionsv1.JSONSchemaProps{"x": tt.is}), props(map[string]apiextensionsv1.JSONSchemaProps{"x": tt.was}), "")
		if err == nil || !strings.Contains(err.Error(), ".x: ") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: err = %v, want one that names .x and %s", name, err, name)
		}
	}
}
