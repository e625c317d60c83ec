package render

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
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
