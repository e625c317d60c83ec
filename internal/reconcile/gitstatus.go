package reconcile

import (
	"context"
	"strconv"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// gitStatus is what is known of a GitRepository's status beyond what the cache shows.
type gitStatus struct {
	uid     types.UID
	version uint64                       // resourceVersion that written was given; 0: nothing was written
	written sourcev1.GitRepositoryStatus // last
	unsure  bool                         // the last write failed: the server may hold what it sent
}

func (g *GitRepositories) statusOf(obj *sourcev1.GitRepository) *gitStatus {
	name := client.ObjectKeyFromObject(obj)
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.statuses[name]
	if s == nil || s.uid != obj.UID {
		s = &gitStatus{uid: obj.UID}
		g.statuses[name] = s
	}
	return s
}

// restore gives obj, as the cache has it, the status that the API server has: the one written last while the cache lags
// behind it, and the server's own when a failed write left open which that is.
func (g *GitRepositories) restore(ctx context.Context, obj *sourcev1.GitRepository) error {
	s := g.statusOf(obj)
	if s.unsure {
		var held sourcev1.GitRepository
		if err := g.Secrets.Get(ctx, client.ObjectKeyFromObject(obj), &held); err != nil {
			return err
		}
		if held.UID == obj.UID {
			s.remember(&held)
		}
	}
	if version, err := strconv.ParseUint(obj.ResourceVersion, 10, 64); err == nil && version < s.version {
		s.written.DeepCopyInto(&obj.Status)
	}
	return nil
}

func (s *gitStatus) remember(obj *sourcev1.GitRepository) {
	s.version, _ = strconv.ParseUint(obj.ResourceVersion, 10, 64)
	obj.Status.DeepCopyInto(&s.written)
	s.unsure = false
}

// patchStatus sends the difference to base, which is what the server holds.
func (g *GitRepositories) patchStatus(ctx context.Context, base, obj *sourcev1.GitRepository) error {
	if equality.Semantic.DeepEqual(base.Status, obj.Status) {
		return nil
	}
	s := g.statusOf(obj)
	if err := g.Status().Patch(ctx, obj, client.MergeFrom(base), client.FieldOwner(gitFieldManager)); err != nil {
		s.unsure = true
		return client.IgnoreNotFound(err)
	}
	s.remember(obj)
	return nil
}
