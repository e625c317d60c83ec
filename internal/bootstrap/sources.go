package bootstrap

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// Sources says who serves the sources of a cluster: Sluice its GitRepositories, or Flux's source-controller all of them.
type Sources int

// The zero value goes by the repository: Flux's source-controller serves where its manifest stands beside Sluice's
// components, and where the repository of a cluster that Flux bootstrapped holds a source that only it serves.
const (
	SourcesAsFound Sources = iota
	SourcesSluice
	SourcesFlux
)

const (
	sourceGroup      = "source.toolkit.fluxcd.io"
	sourceController = "source-controller"
	helmController   = "helm-controller"
)

// ServedByFluxAlone are the kinds of sources that Sluice does not serve.
var ServedByFluxAlone = []string{"HelmRepository", "HelmChart", "OCIRepository", "Bucket"}

// WantFluxSources tells whether one of the controllers that a user asks for needs source-controller: helm-controller
// works on HelmCharts, which nobody else makes.
func WantFluxSources(controllers []string) bool {
	return slices.Contains(controllers, sourceController) || slices.Contains(controllers, helmController)
}

// fluxSources settles who serves, from what the repository holds where the caller leaves it open.
func (w *writer) fluxSources(r Repository) bool {
	switch {
	case WantFluxSources(r.Others), r.Sources == SourcesFlux:
		return true
	case r.Sources == SourcesSluice:
		return false
	case slices.ContainsFunc([]string{OthersFile, sourceController + ".yaml"}, func(name string) bool { return deploys(w.read(name), sourceController) }):
		return true
	}
	was := w.read(ComponentsFile)
	return !bytes.HasPrefix(was, ours) && deploys(was, sourceController) && w.needFlux()
}

// deploys tells whether a manifest holds a Deployment of this name, as Flux's CLI writes it.
func deploys(manifest []byte, name string) bool {
	for _, doc := range bytes.Split(manifest, []byte("\n---\n")) {
		if bytes.Contains(doc, []byte("\nkind: Deployment\n")) && bytes.Contains(doc, []byte("\n  name: "+name+"\n")) {
			return true
		}
	}
	return false
}

var fluxAlone = lazyregexp.New(`(?m)^kind: *(HelmRelease|` + strings.Join(ServedByFluxAlone, "|") + `) *$`)

// needFlux looks through the repository for a manifest of what only Flux serves.
func (w *writer) needFlux() (found bool) {
	if w.existing == nil {
		return false
	}
	err := fs.WalkDir(w.existing, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || path.Ext(name) != ".yaml" && path.Ext(name) != ".yml" {
			return err
		}
		data, err := fs.ReadFile(w.existing, name)
		if err == nil && fluxAlone.Match(data) {
			found = true
			return fs.SkipAll
		}
		return err
	})
	if err != nil && w.err == nil {
		w.err = err
	}
	return found
}

// needDefinitions refuses files without a definition, or without the Service of the artifacts, that the folder holds
// now: the sync would prune them, and with a definition all its objects.
func (w *writer) needDefinitions(files []string) error {
	held := map[string]bool{}
	for _, name := range files {
		docs, err := documents(w.final(name))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, d := range docs {
			held[identity(d)] = true
		}
	}
	for _, name := range files {
		docs, err := documents(w.read(name))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, d := range docs {
			if kind := d.GetKind(); kind != "CustomResourceDefinition" && kind != "Service" || held[identity(d)] {
				continue
			}
			return &fault.Fault{Code: "SLU-USAGE-071", Hop: fault.HopUsage, Object: d.GetKind() + "/" + d.GetName(), File: path.Join(w.root, name),
				Seen: "it would leave the repository and be pruned, with what depends on it",
				Why:  "Flux's source-controller is to serve the sources, and the repository has no manifest of it",
				Fix:  exportFix(w.root, sourceController)}
		}
	}
	return nil
}

// exportFix is how a controller of Flux comes into the repository.
func exportFix(root, name string) string {
	return "flux install --components=" + name + " --export > " + path.Join(root, name+".yaml") + ", push it, and run the command again with --components-extra " + name
}
