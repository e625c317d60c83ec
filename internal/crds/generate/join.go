package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// join widens current, v1's schema, until it takes whatever former, v1beta2's, took: fields that v1 dropped come back,
// enumerations become the union, and a field that either version left optional stays optional. Rules that v1 added are
// kept only if listed in settled. Any other difference is an error that names the field.
//
// Defaults of dropped fields are left out: an object written as v1 must not gain a field that v1 doesn't have.
func join(current, former *apiextensionsv1.JSONSchemaProps, path string) error {
	if err := joinValue(current, former, path); err != nil {
		return err
	}
	if current.Required != nil {
		current.Required = slices.DeleteFunc(current.Required, func(name string) bool {
			_, known := former.Properties[name]
			return known && !slices.Contains(former.Required, name)
		})
	}
	for name, was := range former.Properties {
		at := path + "." + name
		is, ok := current.Properties[name]
		if !ok {
			is = *was.DeepCopy()
			dropDefaults(&is)
			is.Description = "Of v1beta2: kept when present, never defaulted."
		} else if err := join(&is, &was, at); err != nil {
			return err
		}
		current.Properties[name] = is
	}
	if former.Items != nil {
		if err := join(current.Items.Schema, former.Items.Schema, path+"[]"); err != nil {
			return err
		}
	}
	if former.AdditionalProperties != nil {
		return join(current.AdditionalProperties.Schema, former.AdditionalProperties.Schema, path+"{}")
	}
	return nil
}

// joinValue reconciles what the two schemas say of the value itself, not of its parts.
func joinValue(current, former *apiextensionsv1.JSONSchemaProps, path string) error {
	differ := func(what string, is, was any) error {
		return fmt.Errorf("%s: %s was %s in %s and is %s: decide in join.go what old manifests may say", path, what, text(was), formerVersion, text(is))
	}
	if len(former.Enum) == 0 {
		current.Enum = nil
	}
	for _, v := range former.Enum {
		if len(current.Enum) > 0 && !slices.ContainsFunc(current.Enum, func(c apiextensionsv1.JSON) bool { return string(c.Raw) == string(v.Raw) }) {
			current.Enum = append(current.Enum, v)
		}
	}
	if settled[path] == "" {
		switch {
		case !reflect.DeepEqual(current.Default, former.Default):
			return differ("default", current.Default, former.Default)
		case current.MinLength != nil && !reflect.DeepEqual(current.MinLength, former.MinLength):
			return differ("minLength", current.MinLength, former.MinLength)
		case current.MaxLength != nil && !reflect.DeepEqual(current.MaxLength, former.MaxLength):
			return differ("maxLength", current.MaxLength, former.MaxLength)
		case !reflect.DeepEqual(current.XValidations, former.XValidations):
			return differ("the CEL rules", current.XValidations, former.XValidations)
		case current.Pattern != former.Pattern:
			return differ("pattern", current.Pattern, former.Pattern)
		}
	}
	switch {
	case current.Type != former.Type:
		return differ("type", current.Type, former.Type)
	case current.Format != former.Format:
		return differ("format", current.Format, former.Format)
	case (current.Items == nil) != (former.Items == nil):
		return differ("items", current.Items, former.Items)
	case (current.AdditionalProperties == nil) != (former.AdditionalProperties == nil):
		return differ("additionalProperties", current.AdditionalProperties, former.AdditionalProperties)
	}
	return nil
}

// settled lists the values on which v1's rules and defaults hold for both versions although v1beta2 had others, and why
// no manifest that worked is refused or changed by it.
var settled = map[string]string{
	".spec":             "the rules speak of serviceAccountName, which v1beta2 did not have",
	".spec.verify.mode": "v1beta2 required the field, so v1's default never fills it in",
}

func dropDefaults(s *apiextensionsv1.JSONSchemaProps) {
	s.Default = nil
	for name, p := range s.Properties {
		dropDefaults(&p)
		s.Properties[name] = p
	}
	if s.Items != nil && s.Items.Schema != nil {
		dropDefaults(s.Items.Schema)
	}
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
