package onboard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/githost/gitpush"
	"github.com/sluice-gitops/sluice/internal/render"
)

// ErrDoesNotBuild is wrapped by the fault of a repository whose flux-system folder can't be built with the manifests.
var ErrDoesNotBuild = errors.New("the flux-system folder does not build")

// Published is a repository that holds the manifests.
type Published struct {
	Head    *gitpush.Head // the branch with the manifests in it
	Changed bool          // false: it held them already, and nothing was pushed

	request *Request
	objects []*unstructured.Unstructured // of the flux-system folder
}

// Publish is the first half of Bootstrap: it writes, commits and pushes the manifests, and asks no cluster. The
// flux-system folder is built before it is pushed: what would not build is not published, and is ErrDoesNotBuild.
func Publish(ctx context.Context, r *Request) (*Published, error) {
	r.Manifests.Sync.Namespace = r.namespace()
	p := &Published{request: r}
	change := r.Commit
	change.Files = func(existing fs.FS) (map[string][]byte, error) {
		m := r.Manifests
		m.Existing = existing
		files, err := bootstrap.Files(m)
		if err == nil && r.Admit != nil && len(files) > 0 {
			err = r.Admit(ctx, slices.Sorted(maps.Keys(files)))
		}
		return files, err
	}
	change.Check = func(head *gitpush.Head) (err error) {
		if p.objects, err = r.build(ctx, head); err != nil {
			return err
		}
		return r.held.refuse(p.objects, r)
	}
	r.Say("►", "reading branch %q of %s", r.branch(), r.Remote.URL)
	res, err := r.Remote.Commit(ctx, r.branch(), change)
	if err != nil {
		return nil, err
	}
	switch {
	case !res.Changed:
		r.Say("✔", "components and sync are up to date: no commit")
	case res.Rebased > 0:
		r.Say("✔", "committed and pushed %s, on top of what others pushed meanwhile", res.Head.Commit)
	default:
		r.Say("✔", "committed and pushed %s", res.Head.Commit)
	}
	p.Head, p.Changed = res.Head, res.Changed
	return p, nil
}

// Install applies what was published to a cluster, and doesn't wait until the cluster follows the repository. It is for
// who starts the controller only then; it returns how many objects it applied. c knows Scheme.
func (p *Published) Install(ctx context.Context, c client.Client, say Say) (objects int, err error) {
	r := *p.request
	r.Client, r.Say = c, say
	found, err := sceneOf(ctx, c)
	if err != nil {
		return 0, err
	}
	secret, err := r.credentials(ctx)
	if err != nil {
		return 0, err
	}
	return len(p.objects), r.install(ctx, found, secret, stage(p.objects))
}

// build gives the head's flux-system folder as objects, the user's patches applied.
func (r *Request) build(ctx context.Context, head *gitpush.Head) ([]*unstructured.Unstructured, error) {
	folder := path.Join(path.Clean("/" + r.Manifests.Sync.Path)[1:], bootstrap.Folder)
	res, err := render.Render(ctx, render.Request{Tree: head.Tree(), Path: folder})
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, &fault.Fault{Code: "SLU-RENDER-030", Hop: fault.HopRender, File: folder + "/" + bootstrap.KustomizationFile, Exit: fault.ExitNo,
			Seen: "the folder does not build with the new components; nothing was pushed", Why: err.Error(),
			Fix: "correct the patches that it lists (Flux's source-controller, for one, is not there any more), push, and run the command again",
			Err: fmt.Errorf("%w: %w", ErrDoesNotBuild, err)}
	}
	return res.Objects, nil
}
