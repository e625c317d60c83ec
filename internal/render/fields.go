package render

import (
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/kustomize/api/provider"
	kustypes "sigs.k8s.io/kustomize/api/types"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// directory is a walk through one kustomization's fields.
type directory struct {
	*walker
	visit
	file   string
	builds int
}

// fields judges every field that names a file, a base or a URL.
func (d *directory) fields(k *kustypes.Kustomization) error {
	if len(k.HelmCharts) > 0 {
		return &fault.Fault{
			Code: "SLU-RENDER-014", Hop: fault.HopRender, File: d.file, Reason: reasonBuild,
			Seen: "helmCharts is set", Why: "helm is not run while rendering, as in Flux",
			Fix: "use a HelmRelease, or commit the chart's rendered manifests",
		}
	}
	steps := []func() error{
		func() error { return each(k.Resources, func(s string) error { return d.base("resources", s, true) }) },
		func() error {
			return each(k.Components, func(s string) error { return d.base("components", s, false) })
		},
		func() error { return each(k.Configurations, d.named("configurations", useConfig)) },
		func() error { return each(k.Crds, d.named("crds", useConfig)) },
		func() error { return d.generators(k) },
		func() error { return d.patches(k) },
		func() error { return each(k.Generators, func(s string) error { return d.plugin("generators", s) }) },
		func() error { return each(k.Transformers, func(s string) error { return d.plugin("transformers", s) }) },
		func() error { return each(k.Validators, func(s string) error { return d.plugin("validators", s) }) },
		func() error {
			if p, ok := k.OpenAPI["path"]; ok {
				return d.filePath("openapi.path", p, useConfig)
			}
			return nil
		},
	}
	return each(steps, func(step func() error) error { return step() })
}

func each[T any](list []T, f func(T) error) error {
	for _, e := range list {
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

func (d *directory) generators(k *kustypes.Kustomization) error {
	kv := func(field string, src kustypes.KvPairSources, files, envs use) error {
		for _, s := range src.FileSources {
			if remoteFile(s) {
				return remoteReference(d.file, field+".files", s)
			}
			if _, p, ok := strings.Cut(s, "="); ok {
				s = p
			}
			if err := d.filePath(field+".files", s, files); err != nil {
				return err
			}
		}
		return each(src.EnvSources, d.named(field+".envs", envs))
	}
	for _, g := range k.ConfigMapGenerator {
		if err := kv("configMapGenerator", g.KvPairSources, useConfigMap, useConfigMap); err != nil {
			return err
		}
	}
	for _, g := range k.SecretGenerator {
		if err := kv("secretGenerator", g.KvPairSources, useSecretFile, useSecretEnv); err != nil {
			return err
		}
	}
	return nil
}

func (d *directory) patches(k *kustypes.Kustomization) error {
	//lint:ignore SA1019 users' kustomizations still hold the deprecated fields
	strategic, json := k.PatchesStrategicMerge, k.PatchesJson6902
	for _, p := range strategic {
		if remoteFile(string(p)) {
			return remoteReference(d.file, "patchesStrategicMerge", string(p))
		}
		if isInline(string(p)) {
			continue
		}
		if err := d.filePath("patchesStrategicMerge", string(p), usePatch); err != nil {
			return err
		}
	}
	for _, list := range []struct {
		field   string
		patches []kustypes.Patch
	}{{"patches", k.Patches}, {"patchesJson6902", json}} {
		for _, p := range list.patches {
			if p.Path == "" {
				continue
			}
			if err := d.filePath(list.field+".path", p.Path, usePatch); err != nil {
				return err
			}
		}
	}
	for _, p := range k.Replacements {
		if p.Path != "" {
			if err := d.filePath("replacements.path", p.Path, useConfig); err != nil {
				return err
			}
		}
	}
	return nil
}

// isInline says whether kustomize takes s, where either a path or manifests may stand, for manifests.
func isInline(s string) bool {
	return guard(func() error {
		_, err := resourceFactory.SliceFromBytes([]byte(s))
		return err
	}) == nil
}

var resourceFactory = provider.NewDefaultDepProvider().GetResourceFactory()

func (d *directory) named(field string, u use) func(string) error {
	return func(s string) error { return d.filePath(field, s, u) }
}

// filePath judges a reference that can only be a file.
func (d *directory) filePath(field, ref string, u use) error {
	if remoteFile(ref) {
		return remoteReference(d.file, field, ref)
	}
	p, err := d.resolve(field, ref)
	if err != nil {
		return err
	}
	switch k, err := d.fs.stat(p); {
	case err != nil:
		return err
	case k == isFile:
		d.add(field, p, u)
		return nil
	case k == isDir:
		return missingReference(d.file, field, ref, p+" is a directory")
	}
	return missingReference(d.file, field, ref, p+" does not exist")
}

// base judges a reference that may be a directory with a kustomization and, where orFile says so, a file.
func (d *directory) base(field, ref string, orFile bool) error {
	if remoteBase(ref) {
		return remoteReference(d.file, field, ref)
	}
	p, err := d.resolve(field, ref)
	if err != nil {
		return err
	}
	switch k, err := d.fs.stat(p); {
	case err != nil:
		return err
	case k == isDir:
		n, err := d.kustomization(visit{dir: p, plugin: d.visit.plugin}, d.file)
		d.builds += n
		return err
	case k == isFile && orFile:
		if d.visit.plugin {
			return d.pluginFile(field, p)
		}
		d.add(field, p, useResource)
		return nil
	case k == isFile:
		return missingReference(d.file, field, ref, p+" is a file, and a directory is expected")
	}
	return missingReference(d.file, field, ref, p+" does not exist")
}

func (d *directory) add(field, p string, u use) {
	if d.visit.plugin && u != useConfig {
		u = usePlugin
	}
	d.refs.files = append(d.refs.files, reference{path: p, use: u, from: d.file, field: field})
}

// resolve makes ref relative to the root, and refuses what is outside.
func (d *directory) resolve(field, ref string) (string, error) {
	p := path.Join(d.dir, ref)
	if path.IsAbs(ref) || p == ".." || strings.HasPrefix(p, "../") {
		return "", &fault.Fault{
			Code: "SLU-RENDER-005", Hop: fault.HopRender, File: d.file, Reason: reasonBuild,
			Seen: fmt.Sprintf("%s names %q, which is outside the repository", field, ref),
			Fix:  "name a file of the repository, relative to " + d.dir,
		}
	}
	return p, nil
}
