package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// allReconciler holds the flags of reconcile all.
type allReconciler struct {
	*reconciler
	chosen getter // which objects: the flags of get
	await  bool
}

func newReconcileAll(r *reconciler) *cobra.Command {
	a := &allReconciler{reconciler: r}
	cmd := &cobra.Command{Use: "all", Short: "Reconcile sources, then Kustomizations", Args: none,
		Long:    "Suspended objects are left alone. Without --wait it returns as soon as everything is asked for.",
		Example: "  sluice reconcile all -A --status-selector ready=false --wait"}
	f := cmd.Flags()
	f.BoolVarP(&a.chosen.all, "all-namespaces", "A", false, "objects of every namespace")
	f.StringVarP(&a.chosen.labels, "label-selector", "l", "", "only objects with these labels")
	f.StringSliceVar(&a.chosen.status, "status-selector", nil, "only objects with these conditions, ready=false for example")
	f.BoolVar(&a.await, "wait", false, "wait for the outcome of each")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		if _, err := labels.Parse(a.chosen.labels); err != nil {
			return usage(c, fmt.Errorf("--label-selector: %w", err))
		}
		if _, err := parseStatusSelector(a.chosen.status); err != nil {
			return usage(c, err)
		}
		return r.run(c, a.reconcile)
	}
	return cmd
}

// reconcile asks for everything before it waits for anything, so that the controller may choose the order. All that
// fails is told; the error is the first of them.
func (a *allReconciler) reconcile(ctx context.Context, c client.Client) error {
	a.chosen.kube = a.kube
	type request struct {
		kind   kind
		object client.Object
		asked  string
	}
	var asked []request
	total := 0
	for _, k := range []kind{gitRepositories, kustomizations} {
		objects, err := a.chosen.find(ctx, c, k, "")
		if err != nil && !apimeta.IsNoMatchError(err) {
			return err
		}
		total += len(objects)
		for _, o := range objects {
			if suspended, _, _ := k.spec(o); suspended {
				a.say("►", "%s %s/%s is suspended", k.name, o.GetNamespace(), o.GetName())
				continue
			}
			at := time.Now().Format(time.RFC3339Nano)
			if err := ask(ctx, c, o, at); err != nil {
				return err
			}
			a.say("✔", "%s %s/%s annotated", k.name, o.GetNamespace(), o.GetName())
			asked = append(asked, request{k, o, at})
		}
	}
	if total == 0 {
		return a.chosen.nothing("", []kind{gitRepositories, kustomizations})
	}
	if !a.await {
		return nil
	}
	var failed error
	for _, r := range asked {
		key := client.ObjectKeyFromObject(r.object)
		err := a.wait(ctx, c, r.kind, key, r.asked)
		if err == nil {
			o := r.kind.empty()
			if err = c.Get(ctx, key, o); err == nil {
				a.say("✔", "%s %s: %s%s", r.kind.name, key, r.kind.done, r.kind.revision(o))
				continue
			}
			err = notFound(err, r.kind, key)
		}
		if ctx.Err() != nil {
			return errors.Join(err, failed)
		}
		if failed == nil {
			failed = err // the command's answer, which is told last
			continue
		}
		seen := err.Error()
		if f := fault.From(err); f != nil {
			seen = f.Seen
		}
		a.say("✗", "%s %s: %s", r.kind.name, key, seen)
	}
	return failed
}
