package reconcile

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

// stepError says which condition of a GitRepository a failed step is told in besides Ready, and with what status.
type stepError struct {
	condition string
	status    metav1.ConditionStatus
	stalled   bool // no retry can mend it
	err       error
}

func (e *stepError) Error() string { return e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// gitStepFault is a failed step, told in Flux's reason.
func gitStepFault(obj *sourcev1.GitRepository, code, reason, seen, why, fix string, err error) error {
	return &fault.Fault{
		Code: code, Hop: fault.HopGit, Object: "GitRepository/" + obj.Namespace + "/" + obj.Name,
		Seen: seen, Why: why, Fix: fix, Reason: reason, Err: err,
	}
}

// included is another GitRepository's current state, in the order of spec.include.
type included struct {
	artifact *meta.Artifact
	tree     source.Tree
}

// includes looks up what spec.include names. An included repository that has nothing yet ends the attempt: its next
// revision wakes this object.
func (g *GitRepositories) includes(ctx context.Context, obj *sourcev1.GitRepository) ([]included, error) {
	list := make([]included, 0, len(obj.Spec.Include))
	for _, incl := range obj.Spec.Include {
		name := types.NamespacedName{Namespace: obj.Namespace, Name: incl.GitRepositoryRef.Name}
		unavailable := func(reason, seen, fix string, err error) error {
			return &stepError{condition: sourcev1.IncludeUnavailableCondition, status: metav1.ConditionTrue,
				err: gitStepFault(obj, "SLU-GIT-020", reason, seen, "", fix, err)}
		}
		var dep sourcev1.GitRepository
		if err := g.Get(ctx, name, &dep); err != nil {
			if !apierrors.IsNotFound(err) {
				return nil, err
			}
			return nil, unavailable("NotFound", fmt.Sprintf("could not get resource for include '%s': it does not exist", name.Name),
				"add GitRepository/"+name.String()+", or correct spec.include", err)
		}
		rev := g.Revisions.Get(gitKey(name))
		if dep.Status.Artifact == nil || rev == nil {
			return nil, unavailable("NoArtifact", fmt.Sprintf("no artifact available for include '%s'", name.Name),
				"look with: sluice get sources git "+name.Name+" -n "+name.Namespace, nil)
		}
		list = append(list, included{dep.Status.Artifact.DeepCopy(), rev.Tree})
	}
	return list, nil
}

// artifactsOf lists the artifacts for status.includedArtifacts.
func artifactsOf(list []included) []*meta.Artifact {
	var out []*meta.Artifact
	for _, in := range list {
		out = append(out, in.artifact)
	}
	return out
}

// view makes of the fetched tree what the object's spec makes of it: sparse, with what it includes, without what it
// ignores.
func (g *GitRepositories) view(obj *sourcev1.GitRepository, ignores *source.Ignores, tree source.Tree, list []included) (source.Tree, error) {
	for i, incl := range obj.Spec.Include {
		from, to := clamp(incl.GetFromPath()), clamp(incl.GetToPath())
		mounted, err := source.Mount(tree, to, list[i].tree, from)
		if err != nil {
			return nil, &stepError{condition: storageFailed, status: metav1.ConditionTrue, err: gitStepFault(obj, "SLU-GIT-021", "CopyFailure",
				fmt.Sprintf("failed to copy '%s' include from %s to %s", incl.GitRepositoryRef.Name, from, to), whyNot(err),
				"correct fromPath or toPath in spec.include", err)}
		}
		tree = mounted
	}
	extra := ""
	if obj.Spec.Ignore != nil {
		extra = *obj.Spec.Ignore
	}
	return ignores.View(tree, extra)
}

// clamp keeps a path inside the tree, as Flux does: what leads out of the root leads to the root.
func clamp(p string) string {
	if p = strings.TrimPrefix(path.Clean("/"+p), "/"); p == "" {
		return "."
	}
	return p
}

func whyNot(err error) string {
	switch {
	case errors.Is(err, source.ErrExist):
		return "the target exists already"
	case errors.Is(err, source.ErrNotDir):
		return "a file stands above the target"
	case errors.Is(err, source.ErrNotExist):
		return "the included repository does not hold the path"
	}
	return err.Error()
}

// sameContent says that status.artifact was made with what the spec and the included artifacts are now.
func sameContent(obj *sourcev1.GitRepository, list []included) bool {
	s, st := &obj.Spec, &obj.Status
	now := artifactsOf(list)
	if len(now) != len(st.IncludedArtifacts) {
		return false
	}
	for i, a := range now {
		if old := st.IncludedArtifacts[i]; old == nil || old.Revision != a.Revision || old.Digest != a.Digest {
			return false
		}
	}
	return equality.Semantic.DeepEqual(s.Ignore, st.ObservedIgnore) && s.RecurseSubmodules == st.ObservedRecurseSubmodules &&
		equality.Semantic.DeepEqual(s.Include, st.ObservedInclude) && equality.Semantic.DeepEqual(s.SparseCheckout, st.ObservedSparseCheckout)
}

// observe writes into the status what the artifact was made with.
func observe(obj *sourcev1.GitRepository, list []included) {
	s, st := &obj.Spec, &obj.Status
	st.IncludedArtifacts, st.ObservedIgnore, st.ObservedRecurseSubmodules = artifactsOf(list), s.Ignore, s.RecurseSubmodules
	st.ObservedInclude, st.ObservedSparseCheckout = s.Include, s.SparseCheckout
}

// wakeIncluding wakes the repositories of a namespace that include the one that changed.
func (g *GitRepositories) wakeIncluding() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []ctrl.Request {
		var list sourcev1.GitRepositoryList
		if err := g.List(ctx, &list, client.InNamespace(o.GetNamespace())); err != nil {
			g.Log.Error("list including repositories", "of", o.GetNamespace()+"/"+o.GetName(), "error", err)
			return nil
		}
		var reqs []ctrl.Request
		for i := range list.Items {
			if slices.ContainsFunc(list.Items[i].Spec.Include, func(in sourcev1.GitRepositoryInclude) bool {
				return in.GitRepositoryRef.Name == o.GetName()
			}) {
				reqs = append(reqs, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
			}
		}
		return reqs
	})
}

// artifactChanged passes updates in which a repository's artifact became another one.
func artifactChanged() predicate.Predicate {
	digest := func(o client.Object) string {
		if a := o.(*sourcev1.GitRepository).Status.Artifact; a != nil {
			return a.Revision + " " + a.Digest
		}
		return ""
	}
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool { return digest(e.ObjectOld) != digest(e.ObjectNew) },
	}
}
