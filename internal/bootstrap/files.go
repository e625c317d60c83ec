package bootstrap

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Folder is the name of the folder, under a cluster's path, that holds the components and the sync.
const Folder = "flux-system"

// Repository says what bootstrap is to write for one cluster, and what is there already.
type Repository struct {
	Components Options
	Sync       SyncOptions // Sync.Path is the cluster's folder in the repository
	Identity   *Identity   // nil: no workload-identity patches are written
	Others     []string    // further controllers of Flux that must stand in OthersFile or in a file of their name
	Sources    Sources     // who serves the sources
	Existing   fs.FS       // the repository's root as it stands; nil: empty
}

// Files returns the files to write, by slash-separated path from the repository's root: the components and the sync
// always, kustomization.yaml and the patches only where they are missing, lack an entry, or hold placeholders, and
// OthersFile where Flux's components stood. A manifest of Flux's that stands in OthersFile, or in a file that is named
// for one of r.Others, is relieved of what the components hold. Files that would not change are left out.
func Files(r Repository) (map[string][]byte, error) {
	r.Sync = r.Sync.withDefaults()
	if r.Components.Namespace == "" {
		r.Components.Namespace = r.Sync.Namespace
	}
	w := writer{root: path.Join(clean(r.Sync.Path), Folder), existing: r.Existing, out: map[string][]byte{}}
	r.Components.FluxSources = w.fluxSources(r)
	for _, name := range []string{OthersFile, ComponentsFile, "notification-controller.yaml"} {
		r.Components.Notify = r.Components.Notify || bytes.Contains(w.read(name), []byte("\n  name: notification-controller\n"))
	}

	components, err := Components(r.Components)
	if err != nil {
		return nil, err
	}
	sync, err := Sync(r.Sync)
	if err != nil {
		return nil, err
	}
	adopted, err := w.adopt(r, components)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.root, err)
	}
	w.put(ComponentsFile, components)
	w.put(SyncFile, sync)
	if err := w.needOthers(r, adopted); err != nil {
		return nil, err
	}
	if r.Components.FluxSources {
		if err := w.needDefinitions(append([]string{ComponentsFile}, adopted...)); err != nil {
			return nil, err
		}
	}
	if err := w.putKustomization(r, adopted); err != nil {
		return nil, err
	}
	return w.out, w.err
}

// needOthers refuses a repository without the controllers that the user counts on: Sluice brings none of them.
func (w *writer) needOthers(r Repository, adopted []string) error {
	names := r.Others
	if WantFluxSources(names) && !slices.Contains(names, sourceController) {
		names = append(slices.Clone(names), sourceController)
	}
	for _, name := range names {
		stands := slices.ContainsFunc(adopted, func(file string) bool {
			return bytes.Contains(w.final(file), []byte("\n  name: "+name+"\n"))
		})
		if !stands {
			return &fault.Fault{Code: "SLU-USAGE-065", Hop: fault.HopUsage, Object: name, Seen: "Sluice does not bring this controller, and the repository has no manifest of it",
				Fix: exportFix(w.root, name)}
		}
	}
	return nil
}

// putKustomization writes the patches and the kustomization.yaml that lists them.
func (w *writer) putKustomization(r Repository, adopted []string) error {
	var listed []string
	if r.Identity != nil {
		patches, err := WorkloadIdentityPatches(r.Components.Namespace, r.Identity.ClientID, r.Identity.TenantID)
		if err != nil {
			return err
		}
		for _, name := range patchPaths {
			if w.read(name) == nil {
				w.put(name, patches[name])
			}
		}
		if was := w.read(ServiceAccountPatch); was != nil && (r.Identity.Replace || holdsPlaceholder(was)) {
			now, err := r.Identity.annotate(was)
			if err != nil {
				return fmt.Errorf("%s: %w", path.Join(w.root, ServiceAccountPatch), err)
			}
			w.put(ServiceAccountPatch, now)
		}
		listed = patchPaths
	}
	resources := []string{ComponentsFile, SyncFile}
	for _, name := range adopted {
		// What is not rewritten is listed already, or was struck by the user.
		if name != OthersFile || w.out[path.Join(w.root, name)] != nil {
			resources = append(resources, name)
		}
	}
	text, err := kustomizationYAML(w.read(KustomizationFile), resources, listed)
	if err != nil {
		return fmt.Errorf("%s: %w", w.root, err)
	}
	w.put(KustomizationFile, text)
	return nil
}

// writer collects what differs from the repository as it stands, and the first error of reading that.
type writer struct {
	root     string
	existing fs.FS
	out      map[string][]byte
	err      error
}

func (w *writer) put(name string, data []byte) {
	if was := w.read(name); was == nil || !bytes.Equal(was, data) {
		w.out[path.Join(w.root, name)] = data
	}
}

// final returns a file of the flux-system folder as it is going to be.
func (w *writer) final(name string) []byte {
	if now, changed := w.out[path.Join(w.root, name)]; changed {
		return now
	}
	return w.read(name)
}

// read returns a file of the flux-system folder as the repository has it, or nil.
func (w *writer) read(name string) []byte {
	if w.existing == nil {
		return nil
	}
	data, err := fs.ReadFile(w.existing, path.Join(w.root, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && w.err == nil {
		w.err = err
	}
	return data
}
