package render

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/provider"
	kustypes "sigs.k8s.io/kustomize/api/types"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// use is what becomes of a file that a kustomization names. It decides whether a SOPS document is opened there.
type use int

const (
	useResource   use = iota // opened
	usePatch                 // opened
	useSecretFile            // opened: secretGenerator's files
	useSecretEnv             // opened: secretGenerator's envs
	useConfigMap             // never opened: configMapGenerator publishes what it reads
	usePlugin                // never opened: read by a configuration under generators, transformers or validators
	useConfig                // never opened: crds, configurations, openapi, replacements
)

func (u use) opened() bool { return u <= useSecretEnv }

// publishes says whether the content would come out as something else than a Secret or the resource that it is.
func (u use) publishes() bool { return u == useConfigMap || u == usePlugin }

// reference is one file named by a kustomization.
type reference struct {
	path  string // relative to the root
	use   use
	from  string // the kustomization file that names it
	field string
}

// references is what a walk found.
type references struct {
	files []reference
	dirs  map[string]bool // directories whose kustomization was judged
	// exclusive: some kustomization changes the process-global OpenAPI schema, so that the build must be alone.
	exclusive bool
}

func (r *references) vetted(p string) bool {
	return r.dirs[path.Dir(p)] || slices.ContainsFunc(r.files, func(f reference) bool { return f.path == p })
}

// maxBuilds bounds how many kustomizations one build may run, counting a base once for every path that leads to it, as
// kustomize builds it. Thirty files that each name the next one twice would otherwise take a billion.
const maxBuilds = 10_000

// walk reads every kustomization that a build of root reaches and judges its references: remote ones, ones that leave the
// tree, missing ones and cycles are faults.
func walk(fs *fileSystem, root string) (*references, error) {
	w := &walker{fs: fs, refs: &references{dirs: map[string]bool{}}, builds: map[visit]int{}}
	if _, err := w.kustomization(visit{dir: root}, ""); err != nil {
		return nil, err
	}
	fs.vetted = w.refs.vetted
	return w.refs, nil
}

// visit is a kustomization in one of two roles: rendered, or yielding plugin configurations.
type visit struct {
	dir    string
	plugin bool
}

type walker struct {
	fs     *fileSystem
	refs   *references
	builds map[visit]int // builds that a finished visit stands for
	stack  []string      // directories under way
}

// kustomization walks one directory, named by the kustomization file from, and returns how many builds it stands for.
func (w *walker) kustomization(v visit, from string) (int, error) {
	// Like kustomize, which allows no base that is, or contains, a kustomization that leads to it.
	if slices.ContainsFunc(w.stack, func(dir string) bool { return within(dir, v.dir) }) {
		return 0, cycle(from, append(slices.Clone(w.stack), v.dir))
	}
	if n, ok := w.builds[v]; ok {
		return n, nil
	}
	file, k, err := w.read(v.dir, from)
	if err != nil {
		return 0, err
	}
	w.refs.dirs[v.dir] = true
	w.refs.exclusive = w.refs.exclusive || len(k.OpenAPI) > 0 || len(k.Crds) > 0

	w.stack = append(w.stack, v.dir)
	d := &directory{walker: w, visit: v, file: file, builds: 1}
	if err := d.fields(k); err != nil {
		return 0, err
	}
	w.stack = w.stack[:len(w.stack)-1]

	if d.builds > maxBuilds {
		return 0, &fault.Fault{
			Code: "SLU-RENDER-013", Hop: fault.HopRender, File: file, Reason: reasonBuild,
			Seen: fmt.Sprintf("its bases would be built more than %d times", maxBuilds),
			Why:  "bases name each other along too many paths, and kustomize builds a base once for every path",
			Fix:  "name every base once",
		}
	}
	w.builds[v] = d.builds
	return d.builds, nil
}

// within says whether dir is base or below it.
func within(dir, base string) bool {
	return base == "." || dir == base || strings.HasPrefix(dir, base+"/")
}

// read returns the kustomization of a directory, parsed as strictly as kustomize does.
func (w *walker) read(dir, from string) (string, *kustypes.Kustomization, error) {
	var found []string
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		p := path.Join(dir, name)
		k, err := w.fs.stat(p)
		if err != nil {
			return "", nil, err
		}
		if k == isFile {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 1:
	case 0:
		return "", nil, noKustomization(dir, from)
	default:
		return "", nil, &fault.Fault{
			Code: "SLU-RENDER-002", Hop: fault.HopRender, File: found[1], Reason: reasonBuild,
			Seen: "there is another kustomization file beside it, " + path.Base(found[0]),
			Fix:  "remove one of the two",
		}
	}
	data, err := w.fs.load(found[0])
	if err != nil {
		return "", nil, err
	}
	k := &kustypes.Kustomization{}
	if err := guard(func() error { return k.Unmarshal(data) }); err != nil {
		return "", nil, invalidKustomization(found[0], err)
	}
	k.FixKustomization()
	if err := k.CheckEmpty(); err != nil {
		return "", nil, invalidKustomization(found[0], err)
	}
	if errs := k.EnforceFields(); len(errs) > 0 {
		return "", nil, invalidKustomization(found[0], fmt.Errorf("%s", strings.Join(errs, "; ")))
	}
	return found[0], k, nil
}

func noKustomization(dir, from string) error {
	return &fault.Fault{
		Code: "SLU-RENDER-003", Hop: fault.HopRender, File: from, Reason: reasonBuild,
		Seen: "it names the directory " + dir + ", which has no kustomization file",
		Fix:  "add " + path.Join(dir, konfig.DefaultKustomizationFileName()) + ", or name the files in it instead of the directory",
	}
}

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
	for _, p := range k.PatchesStrategicMerge {
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
	}{{"patches", k.Patches}, {"patchesJson6902", k.PatchesJson6902}} {
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
