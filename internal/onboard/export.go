package onboard

import (
	"context"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
)

// Export returns the files that a bootstrap would commit on top of the branch as it stands, by path. It asks no cluster.
func Export(ctx context.Context, r *Request) (map[string][]byte, error) {
	r.Manifests.Sync.Namespace = r.namespace()
	head, err := r.Remote.Head(ctx, r.branch())
	if err != nil {
		return nil, err
	}
	m := r.Manifests
	m.Existing = head.Files()
	return bootstrap.Files(m)
}
