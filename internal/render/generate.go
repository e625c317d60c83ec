package render

import (
	"net/url"
	"path"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	"sigs.k8s.io/kustomize/api/konfig"
	kustypes "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/yaml"
)

// placeKustomization puts the kustomization that is built into the overlay, under the name it has in the tree: the path's
// own, or a generated one if the path has none, with the spec merged in. The file is read leniently, as Flux does:
// without apiVersion and kind, and dropping unknown fields, which kustomize itself refuses in the ones below.
func (r *renderer) placeKustomization() error {
	k := kustypes.Kustomization{TypeMeta: kustypes.TypeMeta{
		APIVersion: kustypes.KustomizationVersion, Kind: kustypes.KustomizationKind,
	}}
	file, data, err := r.findKustomization()
	switch {
	case err != nil:
		return err
	case file == "":
		file = path.Join(r.root, konfig.DefaultKustomizationFileName())
		if k.Resources, err = r.scan(r.root, "."); err != nil {
			return err
		}
		if len(k.Resources) == 0 {
			k.Namespace = "_placeholder" // kustomize refuses an empty kustomization, Flux renders nothing
		}
	default:
		if err := yaml.Unmarshal(data, &k); err != nil {
			return invalidKustomization(file, err)
		}
		if len(k.Resources) == 0 {
			// Flux does this so that kustomize takes an empty file. It also annotates what generators and components make.
			k.BuildMetadata = []string{kustypes.OriginAnnotations}
		}
	}
	if err := r.merge(&k, &r.req.Kustomization.Spec); err != nil {
		return err
	}
	merged, err := yaml.Marshal(k)
	if err != nil {
		return invalidKustomization(file, err)
	}
	r.fs.overlay[file] = merged
	return nil
}

// findKustomization returns the first kustomization file of the path by kustomize's order of names, "" if there is none.
func (r *renderer) findKustomization() (string, []byte, error) {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		p := path.Join(r.root, name)
		e, err := r.rec.stat(p)
		if err != nil {
			return "", nil, err
		}
		if e.kind == isFile {
			data, err := r.rec.readFile(p)
			return p, data, err
		}
	}
	return "", nil, nil
}

// scan lists the manifests under dir as resources, in path order, relative to the root by prefix. A directory with a
// kustomization file of its own is one resource.
func (r *renderer) scan(dir, prefix string) ([]string, error) {
	entries, err := r.rec.list(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		p, ref := path.Join(dir, e.Name), prefix+"/"+e.Name
		switch {
		case e.Dir:
			isBase, err := r.hasKustomization(p)
			if err != nil {
				return nil, err
			}
			if isBase {
				out = append(out, ref)
				continue
			}
			below, err := r.scan(p, ref)
			if err != nil {
				return nil, err
			}
			out = append(out, below...)
		case isManifestName(e.Name):
			out = append(out, ref)
		}
	}
	return out, nil
}

func (r *renderer) hasKustomization(dir string) (bool, error) {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if e, err := r.rec.stat(path.Join(dir, name)); err != nil || e.kind == isFile {
			return err == nil, err
		}
	}
	return false, nil
}

// merge lays the spec over the top kustomization: names and namespace replace, patches and components are appended, images
// are merged by name.
func (r *renderer) merge(k *kustypes.Kustomization, spec *kustomizev1.KustomizationSpec) error {
	if spec.TargetNamespace != "" {
		k.Namespace = spec.TargetNamespace
	}
	if spec.NamePrefix != "" {
		k.NamePrefix = spec.NamePrefix
	}
	if spec.NameSuffix != "" {
		k.NameSuffix = spec.NameSuffix
	}
	for _, p := range spec.Patches {
		k.Patches = append(k.Patches, kustypes.Patch{Patch: p.Patch, Target: selector(p.Target)})
	}
	for _, c := range spec.Components {
		if u, err := url.Parse(c); path.IsAbs(c) || err != nil || u.Scheme != "" || remoteBase(c) {
			return remoteReference("", "spec.components", c)
		}
		if spec.IgnoreMissingComponents {
			e, err := r.rec.stat(clamp(path.Join(r.root, c)))
			if err != nil {
				return err
			}
			if e.kind == isMissing {
				continue
			}
		}
		k.Components = append(k.Components, c)
	}
	for _, image := range spec.Images {
		mergeImage(k, image)
	}
	if len(spec.BuildMetadata) > 0 {
		k.BuildMetadata = nil
		for _, option := range spec.BuildMetadata {
			k.BuildMetadata = append(k.BuildMetadata, string(option))
		}
	}
	return nil
}

// mergeImage overrides the entry of the same name, or appends one. Tag and digest select the version together: setting one
// clears the other, for a stale digest beside a new tag would win when the image is pulled.
func mergeImage(k *kustypes.Kustomization, image kustomize.Image) {
	for i := range k.Images {
		have := &k.Images[i]
		if have.Name != image.Name {
			continue
		}
		if image.NewName != "" {
			have.NewName = image.NewName
		}
		if image.NewTag != "" || image.Digest != "" {
			have.NewTag, have.Digest = image.NewTag, image.Digest
		}
		return
	}
	k.Images = append(k.Images, kustypes.Image{
		Name: image.Name, NewName: image.NewName, NewTag: image.NewTag, Digest: image.Digest,
	})
}

func selector(s *kustomize.Selector) *kustypes.Selector {
	if s == nil {
		return nil
	}
	return &kustypes.Selector{
		ResId: resid.ResId{
			Gvk:  resid.Gvk{Group: s.Group, Version: s.Version, Kind: s.Kind},
			Name: s.Name, Namespace: s.Namespace,
		},
		LabelSelector: s.LabelSelector, AnnotationSelector: s.AnnotationSelector,
	}
}

// topShown is what to call the top kustomization in a fault: its file, or the path if the file is generated.
func (r *renderer) topShown() string {
	if e, err := r.rec.view.stat(r.topFile()); err != nil || e.kind != isFile {
		return r.root
	}
	return r.topFile()
}

// topFile is the kustomization file of the path, generated or not.
func (r *renderer) topFile() string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if p := path.Join(r.root, name); r.fs != nil && r.fs.overlay[p] != nil {
			return p
		}
	}
	return path.Join(r.root, konfig.DefaultKustomizationFileName())
}
