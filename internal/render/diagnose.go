package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// maxMessage bounds what is quoted of another library's error: kustomize prints whole objects.
const maxMessage = 600

// diagnose finds the file behind a failed build. kustomize wraps a parse error in one "accumulating resources" per base,
// guesses at directories and git, and quotes content; reading the files again says it in one line.
func (r *renderer) diagnose(err error) error {
	if r.fs.err != nil {
		return r.fs.err
	}
	seen := map[string]bool{}
	for _, ref := range r.refs.files {
		if seen[ref.path] || ref.use != useResource && ref.use != usePatch {
			continue
		}
		seen[ref.path] = true
		if data, err := r.fs.load(ref.path); err == nil {
			if f := examine(ref, data); f != nil {
				return r.inGeneration(ref, f)
			}
		}
	}
	var p *panicked
	if errors.As(err, &p) {
		return r.panicFault(p)
	}
	text := plain(wrapping.ReplaceAllString(err.Error(), ""))
	if strings.Contains(text, "external plugins disabled") {
		return &fault.Fault{
			Code: "SLU-RENDER-014", Hop: fault.HopRender, File: r.innermost(err.Error()), Reason: reasonBuild,
			Seen: text, Why: "only kustomize's own plugins run while rendering, as in Flux",
			Fix: "commit what the plugin would make",
		}
	}
	if m := registered.FindStringSubmatch(text); m != nil {
		return r.duplicate(m[1], "", m[2])
	}
	file := r.innermost(err.Error())
	if m := accumulating.FindStringSubmatch(text); m != nil {
		file, text = path.Join(path.Dir(file), m[1]), m[2]
	}
	return r.cannotBuild(file, r.secrets.redact(text))
}

// cannotBuild is what is left to say when no cause was found: kustomize's own words.
func (r *renderer) cannotBuild(file, text string) error {
	f := &fault.Fault{
		Code: "SLU-RENDER-009", Hop: fault.HopRender, File: file, Reason: reasonBuild,
		Seen: "kustomize cannot build it", Why: shorten(text, maxMessage),
	}
	if file == r.topShown() && len(r.req.Kustomization.Spec.Patches) > 0 {
		f.Fix = "check spec.patches of the Kustomization too, they are built as a part of this file"
	}
	return f
}

// accumulating is a resource file that failed, and its failure, before kustomize's guess that it might be a directory.
var accumulating = lazyregexp.New(`^(?:accumulating resources: )?accumulation err='accumulating resources from '([^']*)': (.*)': must build at directory: .*`)

var registered = lazyregexp.New(`already registered id: ([^./\s]+)[^/\s]*/([^.\s]+(?:\.[^.\s\[]+)*)\.\[no(?:Ns|Grp|Ver)`)

var recursed = lazyregexp.New(`(?:accumulation of path|make target for path|merging from path) '` + mount + `/([^']*)'`)

// wrapping is what kustomize puts before an error once for every base that led to it.
var wrapping = lazyregexp.New(`(?s)^.*(?:accumulation of path|make target for path|merging from path) '[^']*': `)

// innermost is the kustomization that kustomize was in when it failed, by its error's own account.
func (r *renderer) innermost(text string) string {
	all := recursed.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return r.topShown()
	}
	dir := all[len(all)-1][1]
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if p := path.Join(dir, name); r.fs.read[p] != nil || r.fs.overlay[p] != nil {
			return p
		}
	}
	return dir
}

func (r *renderer) panicFault(p *panicked) error {
	f := &fault.Fault{
		Code: "SLU-RENDER-011", Hop: fault.HopRender, File: r.topShown(), Reason: reasonBuild,
		Seen: "kustomize crashed on it (" + p.cause + ")", Why: "some file has a form that kustomize does not expect",
		Fix: "run `kustomize build` on the path to see where",
	}
	for _, ref := range r.refs.files {
		if ref.field == "openapi.path" || ref.field == "crds" {
			f.File, f.Why = ref.path, "the schema, named by "+ref.field+" in "+ref.from+", is probably malformed"
			f.Fix = "correct the schema"
		}
	}
	return f
}

// inGeneration adds, to a fault in a file that nobody listed, what to do about files that are no manifests.
func (r *renderer) inGeneration(ref reference, f *fault.Fault) error {
	if _, written := r.fs.read[ref.from]; !written && ref.from == r.topFile() && f.Code == codeObject {
		e, err := r.rec.view.stat(ref.from)
		if err == nil && e.kind == isMissing {
			f.Why = ref.from + " does not exist, so every YAML file below " + r.root + " is taken for a manifest"
			f.Fix = "add " + ref.from + " and list the manifests in it, or move this file elsewhere"
		}
	}
	return f
}

const (
	codeYAML   = "SLU-RENDER-020"
	codeObject = "SLU-RENDER-021"
)

// examine parses a file of manifests or patches and returns what is wrong with it; nil if it can see nothing.
func examine(ref reference, data []byte) *fault.Fault {
	f := &fault.Fault{Hop: fault.HopRender, File: ref.path, Reason: reasonBuild}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := guard(func() error { return dec.Decode(&doc) })
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			f.Code = codeYAML
			f.Seen = "it is not valid YAML: " + strings.TrimPrefix(plain(err.Error()), "yaml: ")
			f.Fix = "correct the line, or the one above it"
			return f
		}
		if ref.use != useResource {
			continue // a patch may be many things
		}
		if seen, fix := examineObject(&doc); seen != "" {
			f.Code, f.Seen, f.Fix = codeObject, seen, fix
			return f
		}
	}
	if ref.use == useResource {
		if err := guard(func() error { return try(data) }); err != nil {
			f.Code, f.Seen, f.Why = codeObject, "kustomize cannot read it", shorten(plain(err.Error()), maxMessage)
			return f
		}
	}
	return nil
}

// try does with a file's objects, one file at a time, what a build does with all of them.
func try(data []byte) error {
	resources, err := resourceFactory.SliceFromBytes(data)
	if err != nil {
		return err
	}
	for _, res := range resources {
		_, _ = res.GetLabels(), res.GetAnnotations()
		if _, err := res.MarshalJSON(); err != nil {
			return err
		}
	}
	return nil
}

// examineObject says what keeps a document from being a Kubernetes object.
func examineObject(doc *yaml.Node) (seen, fix string) {
	if len(doc.Content) == 0 {
		return "", ""
	}
	n := doc.Content[0]
	line := fmt.Sprintf("line %d: ", n.Line)
	switch {
	case n.Kind == yaml.ScalarNode && (n.Tag == "!!null" || n.Value == ""):
		return "", ""
	case n.Kind != yaml.MappingNode:
		return line + "the document is no Kubernetes object", "make it an object with apiVersion, kind and metadata.name"
	case len(n.Content) == 0:
		return "", ""
	}
	text := func(n *yaml.Node, key string) string {
		if v := valueOf(n, key); v != nil {
			return v.Value
		}
		return ""
	}
	kind := text(n, "kind")
	if kind == "" {
		return line + "the object has no kind", "add kind"
	}
	if strings.HasSuffix(kind, "List") && valueOf(n, "items") != nil {
		return "", ""
	}
	if text(n, "apiVersion") == "" {
		return line + "the object has no apiVersion", "add apiVersion"
	}
	if text(valueOf(n, "metadata"), "name") == "" {
		return line + "the object has no metadata.name", "add metadata.name"
	}
	if key := repeated(n); key != nil {
		return fmt.Sprintf("line %d: the key %q is there twice", key.Line, key.Value), "remove one of the two"
	}
	return "", ""
}

// repeated returns a key that its mapping holds already; nil if there is none.
func repeated(n *yaml.Node) *yaml.Node {
	seen := map[string]bool{}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && c.Kind == yaml.ScalarNode {
			if seen[c.Value] {
				return c
			}
			seen[c.Value] = true
		}
		if key := repeated(c); key != nil {
			return key
		}
	}
	return nil
}

// filesOf names the files that define an object, as far as its kind and name stand in them as they were rendered.
func (r *renderer) filesOf(kind, name string) []string {
	var out []string
	for _, ref := range r.refs.files {
		if ref.use != useResource || slices.Contains(out, ref.path) {
			continue
		}
		data, err := r.fs.load(ref.path)
		if err != nil {
			continue
		}
		dec := yaml.NewDecoder(bytes.NewReader(data))
		for {
			var doc yaml.Node
			if guard(func() error { return dec.Decode(&doc) }) != nil {
				break
			}
			if len(doc.Content) == 0 {
				continue
			}
			k, n := valueOf(doc.Content[0], "kind"), valueOf(valueOf(doc.Content[0], "metadata"), "name")
			if k != nil && n != nil && k.Value == kind && r.sameName(n.Value, name) {
				out = append(out, ref.path)
				break
			}
		}
	}
	return out
}

// sameName says whether an object named have in its file can be the rendered one, spec.namePrefix and nameSuffix aside.
func (r *renderer) sameName(have, rendered string) bool {
	spec := r.req.Kustomization.Spec
	return have == rendered || spec.NamePrefix+have+spec.NameSuffix == rendered
}

// fileOf is the first of filesOf, or the top kustomization if none is known.
func (r *renderer) fileOf(kind, name string) string {
	if files := r.filesOf(kind, name); len(files) > 0 {
		return files[0]
	}
	return r.topShown()
}
