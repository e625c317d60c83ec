package render

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// Only kustomize's own plugins run, but their configurations, listed under generators, transformers and validators, name
// files and URLs like the fields of a kustomization do. They stand inline, in a file, or in a kustomization of their own.

// pluginKeys are the keys, in lower case, under which a builtin plugin's configuration names what it loads. JSON decoding
// ignores case, and so do we.
var pluginKeys = map[string]bool{
	"files": true, "envs": true, "env": true, "path": true, "paths": true,
	"targetfilepath": true, "valuesfile": true, "additionalvaluesfiles": true,
}

// plugin judges one entry of generators, transformers or validators.
func (d *directory) plugin(field, entry string) error {
	if remoteBase(entry) {
		return remoteReference(d.file, field, entry)
	}
	if isInline(entry) {
		return d.configuration(field, []byte(entry))
	}
	was := d.visit.plugin
	d.visit.plugin = true
	defer func() { d.visit.plugin = was }()
	return d.base(field, entry, true)
}

// pluginFile judges a file of plugin configurations.
func (d *directory) pluginFile(field, p string) error {
	d.add(field, p, usePlugin)
	data, err := d.fs.load(p)
	if err != nil {
		return err
	}
	return d.configuration(field, data)
}

// configuration judges what the documents in data load. A document that does not parse is left to kustomize to refuse.
func (d *directory) configuration(field string, data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc any
		if err := guard(func() error { return dec.Decode(&doc) }); err != nil {
			return nil
		}
		if err := d.loads(field, "", doc); err != nil {
			return err
		}
	}
}

// loads judges every string under one of pluginKeys.
func (d *directory) loads(field, key string, v any) error {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if err := d.loads(field, strings.ToLower(k), v[k]); err != nil {
				return err
			}
		}
	case map[any]any: // a mapping with some key that is no string
		for k, e := range v {
			name, _ := k.(string)
			if err := d.loads(field, strings.ToLower(name), e); err != nil {
				return err
			}
		}
	case []any:
		for _, e := range v {
			if err := d.loads(field, key, e); err != nil {
				return err
			}
		}
	case string:
		if pluginKeys[key] {
			return d.load(field, v)
		}
	}
	return nil
}

// load judges one string that a plugin may load: a path, or key=path. Not every such key is a path (a fieldSpec has one
// too), so what does not exist is passed over.
func (d *directory) load(field, ref string) error {
	_, value, _ := strings.Cut(ref, "=")
	for _, s := range []string{ref, value} {
		if s == "" {
			continue
		}
		if remoteFile(s) {
			return remoteReference(d.file, field, s)
		}
		p, err := d.resolve(field, s)
		if err != nil {
			continue
		}
		if k, err := d.fs.stat(p); err == nil && k == isFile {
			d.refs.files = append(d.refs.files, reference{path: p, use: usePlugin, from: d.file, field: field})
		}
	}
	return nil
}
