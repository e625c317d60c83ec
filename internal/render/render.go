// Package render turns a revision's tree, a path in it and a Kustomization's spec into Kubernetes objects, wholly in
// memory, and says which files and directories it read on the way.
//
// It stands between source and plan. The steps, each in a file of its own: the path's kustomization.yaml is found or
// generated and merged with the spec (generate.go); every kustomization reachable from it is read and its references are
// classified (walk.go); SOPS documents that Flux would decrypt are opened (open.go); kustomize builds (build.go); the
// result becomes objects, variables are substituted and common metadata is set (objects.go). What goes wrong becomes a
// fault that names the file (diagnose.go) and holds no decrypted value (redact.go).
//
// It refuses to fetch anything: remote references are refused before the build, in every field that can fetch. It runs
// no helm, no exec plugin and no git, writes no file, and reads nothing outside the tree. It talks to no cluster: the
// values of spec.postBuild.substituteFrom are the caller's to gather.
package render

import (
	"context"
	"errors"
	"path"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

// Opener opens the SOPS document that stands at path in the tree and returns its plaintext in the same format, which it
// tells by path's extension. It may be called from several goroutines at once. Its errors should be faults; they must not
// hold plaintext.
type Opener func(ctx context.Context, path string, data []byte) ([]byte, error)

// Request is one thing to render.
type Request struct {
	Tree source.Tree
	// Path is spec.path, relative to the tree's root. Like Flux's, it cannot leave the root: "../x" is "x".
	Path string
	// Kustomization gives the spec: targetNamespace, namePrefix, nameSuffix, commonMetadata, patches, images, components,
	// ignoreMissingComponents, buildMetadata and postBuild are read. Nil is an empty spec. v1beta2's deprecated patch
	// fields have no place in it; moved into patches, in Flux's order, they give the same result.
	Kustomization *kustomizev1.Kustomization

	// Open opens SOPS documents. Nil means that no decryption is configured; rendering an encrypted v1 Secret then fails.
	Open Opener
	// Encrypted tells SOPS documents from others. Nil: no document is taken for one.
	Encrypted func(path string, data []byte) bool

	// Vars are the values of spec.postBuild.substituteFrom, later references already laid over earlier ones. The spec's
	// own spec.postBuild.substitute wins over them.
	Vars map[string]string
	// LooseVars lets a variable without value or default become an empty string (Flux before 1.9, or with the feature gate
	// StrictPostBuildSubstitutions off) instead of failing.
	LooseVars bool
}

// Result is what a render gives.
type Result struct {
	// Objects are in kustomize's order, which is that of the files.
	Objects []*unstructured.Unstructured
	// Inputs are what the result depends on in the tree, in path order, never empty. The request's other fields are inputs
	// too, and the caller's to compare.
	Inputs []Input
	// Secrets are plaintext values that must not be shown: those that were encrypted, and those in the data of the rendered
	// Secrets, both as they stand and base64-decoded.
	Secrets [][]byte
}

// Render renders. Its errors are *fault.Fault with hop render (Reason BuildFailed, or ArtifactFailed when the path does
// not exist) or sops, or whatever fault Open gave, or the context's error, or the tree's.
func Render(ctx context.Context, req Request) (*Result, error) {
	if req.Kustomization == nil {
		req.Kustomization = &kustomizev1.Kustomization{}
	}
	r := &renderer{req: req, rec: newRecorder(req.Tree), root: clamp(req.Path)}
	res, err := r.render(ctx)
	if err != nil {
		return nil, r.explain(err)
	}
	return res, nil
}

// renderer is one Render under way.
type renderer struct {
	req  Request
	root string // the path to build, clean and relative to the tree's root
	rec  *recorder
	refs *references
	fs   *fileSystem

	secrets secretValues
}

func (r *renderer) render(ctx context.Context) (*Result, error) {
	if err := r.checkPath(); err != nil {
		return nil, err
	}
	r.fs = newFileSystem(ctx, r.rec)
	if err := r.placeKustomization(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var err error
	if r.refs, err = walk(r.fs, r.root); err != nil {
		return nil, err
	}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	built, err := r.build()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	objects, err := r.objects(ctx, built)
	if err != nil {
		return nil, err
	}
	return &Result{Objects: objects, Inputs: r.rec.inputs(), Secrets: r.secrets.list()}, nil
}

// checkPath sees to it that the path is a directory. Flux reports a path that is missing as a fault of the artifact.
func (r *renderer) checkPath() error {
	e, err := r.rec.stat(r.root)
	if err != nil {
		return err
	}
	if e.kind == isDir {
		return nil
	}
	f := &fault.Fault{
		Code: "SLU-RENDER-001", Hop: fault.HopRender, Reason: meta.ArtifactFailedReason,
		Seen: "path " + r.root + " does not exist in the revision",
		Fix:  "set spec.path to a directory of the repository, or add the directory and push",
	}
	if e.kind == isFile {
		f.Seen = "path " + r.root + " is a file, not a directory"
		f.Fix = "set spec.path to " + path.Dir(r.root)
		return f
	}
	if near := r.nearest(); near != "" {
		f.Why = "the nearest directory that exists is " + near
	}
	return f
}

// nearest is the existing directory that is most like the missing root: a sibling that differs by little, else the
// closest ancestor. It reads past the recorder: what it finds is advice, not an input.
func (r *renderer) nearest() string {
	dir, missing := ".", ""
	for _, name := range strings.Split(r.root, "/") {
		if list, err := r.rec.view.list(path.Join(dir, name)); err != nil || list == nil {
			missing = name
			break
		}
		dir = path.Join(dir, name)
	}
	best, bestDistance := dir, max(2, len(missing)/3)+1
	list, err := r.rec.view.list(dir)
	if err != nil {
		return ""
	}
	for _, e := range list.entries {
		if d := distance(strings.ToLower(e.Name), strings.ToLower(missing)); e.Dir && d < bestDistance {
			best, bestDistance = path.Join(dir, e.Name), d
		}
	}
	return best
}

// distance is the Levenshtein distance of two names, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// clamp makes p relative to the root and keeps it there, the way a chroot would: "/../a/../../b" is "b".
func clamp(p string) string {
	if p = strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(p, "\\", "/")), "/"); p == "" {
		return "."
	}
	return p
}

// explain makes an error of any step fit to be shown. Faults of our own lose the values in them; Open's are Open's to
// answer for; the context's error and the tree's stay what they are. Whatever else there may be is kustomize's.
func (r *renderer) explain(err error) error {
	var tree *treeError
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &tree) {
		return err
	}
	if fault.From(err) == nil {
		err = r.cannotBuild(r.topShown(), plain(err.Error()))
	}
	if f := fault.From(err); f.Hop == fault.HopRender {
		r.secrets.redactFault(f)
	}
	return err
}
