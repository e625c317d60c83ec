package local

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/examples/aks"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/node"
	"github.com/sluice-gitops/sluice/internal/local/state"
	"github.com/sluice-gitops/sluice/internal/onboard"
)

// waitSynced waits until every source and Kustomization that isn't suspended is Ready at its newest revision: for those
// that follow the platform's repository, its head. It returns that revision. When ctx ends in a deadline, the fault
// names what was not ready and what it said.
func waitSynced(ctx context.Context, d state.Dir, step *event.Step) (string, error) {
	cfg, err := adminConfig(d)
	if err != nil {
		return "", err
	}
	c, err := client.New(cfg, client.Options{Scheme: onboard.Scheme()})
	if err != nil {
		return "", err
	}
	rec, err := state.Load(d)
	if err != nil {
		return "", err
	}
	for {
		head, err := headRevision(ctx, d)
		if err == nil {
			err = synced(ctx, c, repositoryURL(rec.Ports), head)
		}
		if err == nil && rec.Options.Repo == "" {
			err = sampleSecret(ctx, c)
		}
		if err == nil {
			return head, nil
		}
		var stalled *stalledError
		if errors.As(err, &stalled) {
			return "", stalled.fault()
		}
		if ctx.Err() == nil {
			step.Progress(err.Error())
		}
		if perr := pause(ctx, 50*time.Millisecond); perr != nil {
			if !errors.Is(perr, context.DeadlineExceeded) {
				return "", perr
			}
			f := timedOut("sync", step.Last(), perr).(*fault.Fault)
			f.Fix = `the platform stays up: look around with sluice get all -A, mend and push; or wait longer: sluice up --timeout 15m`
			return "", f
		}
	}
}

// stalledError is a verdict that only an edit can change.
type stalledError struct{ object, message string }

func (e *stalledError) Error() string { return e.object + ": " + e.message }

func (e *stalledError) fault() error {
	return &fault.Fault{Code: "SLU-PLATFORM-056", Hop: fault.HopHealth, Object: e.object, Seen: "it can't become ready by itself", Why: e.message,
		Fix: "mend it in the repository and push; the platform stays up"}
}

// synced returns nil when all is Ready, and otherwise says what isn't.
func synced(ctx context.Context, c client.Reader, url, head string) error {
	var repos sourcev1.GitRepositoryList
	if err := c.List(ctx, &repos); err != nil {
		return err
	}
	revision := map[string]string{} // of each repository, by namespace/name
	for _, r := range repos.Items {
		if r.Spec.Suspend {
			continue
		}
		name := "GitRepository/" + r.Namespace + "/" + r.Name
		if err := ready(name, &r, r.Status.ObservedGeneration, r.Status.LastHandledReconcileAt, r.Status.Conditions); err != nil {
			return err
		}
		if r.Status.Artifact == nil {
			return fmt.Errorf("%s has no revision yet", name)
		}
		revision[r.Namespace+"/"+r.Name] = r.Status.Artifact.Revision
		if sameRepository(r.Spec.URL, url) && onHead(&r) && r.Status.Artifact.Revision != head {
			return fmt.Errorf("%s is at %s, not yet at %s", name, short(r.Status.Artifact.Revision), short(head))
		}
	}
	return kustomizationsSynced(ctx, c, revision)
}

// onHead tells whether the repository follows the branch that the platform's HEAD is on.
func onHead(r *sourcev1.GitRepository) bool {
	ref := r.Spec.Reference
	return ref != nil && ref.Branch == branch && ref.Commit == "" && ref.Tag == "" && ref.SemVer == "" && ref.Name == ""
}

func kustomizationsSynced(ctx context.Context, c client.Reader, revision map[string]string) error {
	var list kustomizev1.KustomizationList
	if err := c.List(ctx, &list); err != nil {
		return err
	}
	if len(list.Items) == 0 {
		return errors.New("no Kustomization yet")
	}
	for _, k := range list.Items {
		if k.Spec.Suspend {
			continue
		}
		name := "Kustomization/" + k.Namespace + "/" + k.Name
		if err := ready(name, &k, k.Status.ObservedGeneration, k.Status.LastHandledReconcileAt, k.Status.Conditions); err != nil {
			return err
		}
		namespace := k.Spec.SourceRef.Namespace
		if namespace == "" {
			namespace = k.Namespace
		}
		want, ours := revision[namespace+"/"+k.Spec.SourceRef.Name]
		if k.Spec.SourceRef.Kind == sourcev1.GitRepositoryKind && ours && k.Status.LastAppliedRevision != want {
			return fmt.Errorf("%s has applied %s, not yet %s", name, short(k.Status.LastAppliedRevision), short(want))
		}
	}
	return nil
}

// ready returns nil for an object whose verdict is about its present spec and its last reconcile request, and is good.
func ready(name string, o client.Object, observed int64, handled string, conditions []metav1.Condition) error {
	asked, _ := meta.ReconcileAnnotationValue(o.GetAnnotations())
	current := observed == o.GetGeneration() && handled == asked
	if c := apimeta.FindStatusCondition(conditions, meta.StalledCondition); c != nil && c.Status == metav1.ConditionTrue && current {
		return &stalledError{name, c.Message}
	}
	c := apimeta.FindStatusCondition(conditions, meta.ReadyCondition)
	switch {
	case c != nil && c.Status != metav1.ConditionTrue:
		return fmt.Errorf("%s: %s", name, strings.Join(strings.Fields(c.Message), " "))
	case c == nil || !current:
		return fmt.Errorf("%s is waiting to be reconciled", name)
	}
	return nil
}

// sampleSecret asks for the sample's Secret, as long as the sample's apps are still in the cluster.
func sampleSecret(ctx context.Context, c client.Reader) error {
	err := c.Get(ctx, client.ObjectKey{Namespace: node.Namespace, Name: "apps"}, &kustomizev1.Kustomization{})
	if apierrors.IsNotFound(err) {
		return nil // the user took them out
	}
	if err != nil {
		return err
	}
	if _, err := secretValue(ctx, c); err != nil {
		return fmt.Errorf("the Secret %s/%s: %w", aks.SecretNamespace, aks.SecretName, err)
	}
	return nil
}

func secretValue(ctx context.Context, c client.Reader) (string, error) {
	var s corev1.Secret
	if err := c.Get(ctx, client.ObjectKey{Namespace: aks.SecretNamespace, Name: aks.SecretName}, &s); err != nil {
		return "", err
	}
	v, ok := s.Data[aks.SecretKey]
	if !ok {
		return "", fmt.Errorf("it has no key %s", aks.SecretKey)
	}
	return string(v), nil
}

// SampleSecret reads the sample's secret from the cluster, as its user would with kubectl. ok is false where there is
// none, or none any more.
func SampleSecret(ctx context.Context, d state.Dir) (value string, ok bool) {
	cfg, err := adminConfig(d)
	if err != nil {
		return "", false
	}
	c, err := client.New(cfg, client.Options{Scheme: onboard.Scheme()})
	if err != nil {
		return "", false
	}
	value, err = secretValue(ctx, c)
	return value, err == nil
}

// short cuts the hash of a revision to eight characters.
func short(revision string) string {
	if name, hash, ok := strings.Cut(revision, "@sha1:"); ok && len(hash) > 8 {
		return name + "@sha1:" + hash[:8]
	}
	if revision == "" {
		return "nothing"
	}
	return revision
}
