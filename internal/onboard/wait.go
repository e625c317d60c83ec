package onboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// sync is the pair of objects by which a cluster follows a repository, and what it should come to.
type sync struct {
	client    client.Client
	key       client.ObjectKey // of both
	revision  string           // branch@sha1:hash that was pushed
	patience  time.Duration    // how long a failure at the revision may last before it is final; 15 s
	head      func(ctx context.Context) (string, error)
	deployed  client.ObjectKey // the controller's Deployment
	requested string           // reconcile request
}

// await asks both objects to reconcile now and waits until they are Ready at the revision, or at a newer head of the
// branch. The fault tells what was seen last, and of a controller that doesn't run, why.
func (s *sync) await(ctx context.Context) error {
	s.requested = time.Now().Format(time.RFC3339Nano)
	if err := request(ctx, s.client, &sourcev1.GitRepository{ObjectMeta: meta1(s.key)}, s.requested); err != nil {
		return err
	}
	var failing time.Time // since when the same revision fails
	for {
		final, err := s.look(ctx)
		if err == nil {
			return nil
		}
		switch {
		case !final:
			failing = time.Time{}
		case failing.IsZero():
			failing = time.Now()
		case time.Since(failing) > s.patience:
			return s.broken(err)
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ctx.Err()
			}
			return s.late(err)
		}
	}
}

// look says what is missing; final is true for a verdict about the revision itself.
func (s *sync) look(ctx context.Context) (final bool, err error) {
	var git sourcev1.GitRepository
	if err := s.client.Get(ctx, s.key, &git); err != nil {
		return false, err
	}
	current := git.Status.ObservedGeneration == git.Generation && git.Status.LastHandledReconcileAt == s.requested
	if err := ready("GitRepository/"+s.key.String(), git.Status.Conditions); err != nil || !current {
		if err == nil {
			err = s.missing("GitRepository", "is waiting to be fetched")
		}
		return current && apimeta.IsStatusConditionFalse(git.Status.Conditions, meta.ReadyCondition), err
	}
	if at := git.Status.Artifact; at == nil || at.Revision != s.revision {
		if at == nil {
			return false, s.missing("GitRepository", "has no revision yet")
		}
		head, err := s.head(ctx)
		if err != nil || head != at.Revision {
			return false, s.missing("GitRepository", "is at "+at.Revision+", not yet at "+s.revision)
		}
		s.revision = head // somebody pushed on top
	}
	var ks kustomizev1.Kustomization
	if err := s.client.Get(ctx, s.key, &ks); err != nil {
		return false, err
	}
	err = ready("Kustomization/"+s.key.String(), ks.Status.Conditions)
	switch {
	case err != nil:
		final = ks.Status.LastAttemptedRevision == s.revision && apimeta.IsStatusConditionFalse(ks.Status.Conditions, meta.ReadyCondition)
		return final, err
	case ks.Status.ObservedGeneration != ks.Generation || ks.Status.LastAppliedRevision != s.revision:
		return false, s.missing("Kustomization", "has not applied "+s.revision+" yet")
	}
	return false, s.upgraded(ctx)
}

// upgraded waits for the rollout of what was installed: an older controller may have been the one that synced. Where
// the sync is Ready and nothing has ever looked at the Deployment, the controller runs outside of the cluster.
func (s *sync) upgraded(ctx context.Context) error {
	var d appsv1.Deployment
	if err := s.client.Get(ctx, s.deployed, &d); err != nil {
		return err
	}
	if seen, err := rolledOut(&d); seen && err != nil {
		return fmt.Errorf("%s %s: %w", "Deployment", s.deployed, err)
	}
	return nil
}

// missing says what one of the two objects lacks.
func (s *sync) missing(kind, what string) error { return fmt.Errorf("%s/%s %s", kind, s.key, what) }

func ready(object string, conditions []metav1.Condition) error {
	c := apimeta.FindStatusCondition(conditions, meta.ReadyCondition)
	switch {
	case c == nil:
		return fmt.Errorf("%s is waiting to be reconciled", object)
	case c.Status != metav1.ConditionTrue:
		return fmt.Errorf("%s: %s", object, strings.Join(strings.Fields(c.Message), " "))
	}
	return nil
}

// request asks the controller to reconcile an object now.
func request(ctx context.Context, c client.Client, o client.Object, at string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{meta.ReconcileRequestAnnotation: at}}})
	if err != nil {
		return err
	}
	return c.Patch(ctx, o, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("flux"))
}

func (s *sync) broken(err error) error {
	return &fault.Fault{Code: "SLU-HEALTH-030", Hop: fault.HopHealth, Object: s.key.String(), Exit: fault.ExitNo, Seen: "the pushed revision " + s.revision + " does not become ready",
		Why: err.Error(), Fix: "mend it in the repository, push, and run the same command again"}
}

// late is the fault of a deadline. Where the controller itself doesn't run, that is the cause.
func (s *sync) late(last error) error {
	f := &fault.Fault{Code: "SLU-HEALTH-031", Hop: fault.HopHealth, Object: s.key.String(), Exit: fault.ExitTimeout, Seen: "not ready in time",
		Why: last.Error(), Fix: "look at the controller: kubectl logs -n " + s.deployed.Namespace + " deploy/" + s.deployed.Name + "; or wait longer: --timeout 15m"}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the caller's is over
	defer cancel()
	var d appsv1.Deployment
	if s.client.Get(ctx, s.deployed, &d) != nil {
		return f
	}
	if _, err := rolledOut(&d); err != nil {
		f.Object, f.Seen, f.Why = "Deployment/"+s.deployed.String(), "the controller does not run", err.Error()
		f.Fix = "kubectl describe pods -n " + s.deployed.Namespace + " -l app=" + s.deployed.Name
		if why := podTrouble(ctx, s.client, s.deployed); why != "" {
			f.Why = why
		}
	}
	return f
}

// podTrouble is what a waiting container or an unscheduled pod says.
func podTrouble(ctx context.Context, c client.Reader, deployment client.ObjectKey) string {
	var pods corev1.PodList
	if c.List(ctx, &pods, client.InNamespace(deployment.Namespace), client.MatchingLabels{"app": deployment.Name}) != nil {
		return ""
	}
	for _, p := range pods.Items {
		for _, s := range p.Status.ContainerStatuses {
			if w := s.State.Waiting; w != nil {
				return "pod " + p.Name + ": " + w.Reason + ": " + w.Message
			}
		}
		for _, cond := range p.Status.Conditions {
			if cond.Status == corev1.ConditionFalse && cond.Message != "" {
				return "pod " + p.Name + ": " + cond.Message
			}
		}
	}
	return ""
}

func meta1(key client.ObjectKey) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}
}
