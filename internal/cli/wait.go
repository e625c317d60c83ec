package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/spf13/cobra"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// waiter holds the flags of wait.
type waiter struct {
	streams  Streams
	kube     kubeFlags
	all      bool
	revision string
}

func newWait(s Streams) *cobra.Command {
	w := &waiter{streams: s}
	cmd := &cobra.Command{Use: "wait", Short: "Wait until Kustomizations are Ready", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, fmt.Errorf("wait for what: kustomization NAME, or --all"))
		}}
	w.kube.add(cmd, s.Env)
	ks := &cobra.Command{Use: "kustomization [NAME]", Aliases: []string{"ks"}, Short: "Wait until a Kustomization is Ready, at a revision if one is given", Args: atMostOne,
		Long:    "It asks for nothing: the controller works at its own pace. Stalled is the end of waiting, for only an edit can help then.",
		Example: "  git push && sluice wait ks --all --revision $(git rev-parse HEAD)"}
	ks.Flags().BoolVar(&w.all, "all", false, "every Kustomization of the namespace that is not suspended")
	ks.Flags().StringVar(&w.revision, "revision", "", "commit, or its first characters, that must be applied")
	ks.RunE = func(c *cobra.Command, args []string) error {
		if w.all == (len(args) == 1) {
			return usage(c, fmt.Errorf("give NAME or --all"))
		}
		ctx, cancel := w.kube.deadline(c)
		defer cancel()
		kc, err := w.kube.client()
		if err != nil {
			return err
		}
		return w.wait(ctx, kc, strings.Join(args, ""))
	}
	cmd.AddCommand(ks)
	return cmd
}

// wait looks again until all are ready, one is stalled, or ctx ends.
func (w *waiter) wait(ctx context.Context, c client.Reader, name string) error {
	told := map[string]bool{}
	last := "nothing was seen"
	for {
		objects, err := kustomizations.fetch(ctx, c, w.kube.namespace, name)
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil && len(objects) == 0:
			return (&getter{kube: w.kube}).nothing(name, []kind{kustomizations})
		}
		left := 0
		for _, o := range objects {
			k := o.(*kustomizev1.Kustomization)
			done, state, err := w.verdict(k)
			if err != nil {
				return err
			}
			if !done {
				left++
				last = k.Name + ": " + state
			} else if !told[k.Name] {
				told[k.Name] = true
				say(w.streams, "✔", "%s %s", k.Name, state)
			}
		}
		if err == nil && left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return &fault.Fault{Code: "SLU-HEALTH-021", Hop: fault.HopHealth, Seen: "not ready within " + w.kube.timeout.String(), Why: "last seen: " + last,
				Fix: "look at it with: sluice get ks -n " + w.kube.namespace, Exit: fault.ExitTimeout, Err: ctx.Err()}
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// verdict says whether k is as wanted, and what it is. A stalled one is an error.
func (w *waiter) verdict(k *kustomizev1.Kustomization) (done bool, state string, err error) {
	if k.Spec.Suspend {
		if w.all {
			return true, "is suspended", nil
		}
		return false, "", &fault.Fault{Code: "SLU-KUBERNETES-010", Hop: fault.HopAPI, Object: "Kustomization/" + k.Namespace + "/" + k.Name, Seen: "it is suspended",
			Why: k.Annotations[annotationReason], Exit: fault.ExitNo, Fix: "sluice resume ks " + k.Name + " -n " + k.Namespace}
	}
	status, message := kustomizations.readyAndMessage(k)
	if k.Status.ObservedGeneration == k.Generation && apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.StalledCondition) {
		return false, "", notReady("Kustomization/"+k.Namespace+"/"+k.Name, message)
	}
	current := k.Status.ObservedGeneration == k.Generation
	if current && status == "True" && w.applied(k.Status.LastAppliedRevision) {
		return true, "applied revision " + k.Status.LastAppliedRevision, nil
	}
	return false, oneLine(message), nil
}

// applied says whether a revision, branch@sha1:hash, is the commit that is waited for.
func (w *waiter) applied(revision string) bool {
	if w.revision == "" {
		return true
	}
	_, hash, ok := strings.Cut(revision, ":")
	return revision == w.revision || ok && strings.HasPrefix(hash, w.revision)
}
