package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// annotationReason keeps why an object is suspended, for whoever finds it so.
const annotationReason = "sluice-gitops.github.io/suspended-because"

// suspender holds the flags of suspend and resume.
type suspender struct {
	streams Streams
	kube    kubeFlags
	all     bool
	wait    bool
	reason  string
}

func newSuspend(s Streams) *cobra.Command {
	h := &suspender{streams: s}
	cmd := &cobra.Command{Use: "suspend", Short: "Stop reconciling, and leave what is applied as it is", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, fmt.Errorf("suspend what: kustomization NAME or source git NAME"))
		}}
	h.add(cmd, "Suspend", h.suspend)
	cmd.PersistentFlags().StringVar(&h.reason, "reason", "", "why, shown to whoever looks at the object")
	return cmd
}

func newResume(s Streams) *cobra.Command {
	h := &suspender{streams: s}
	cmd := &cobra.Command{Use: "resume", Short: "Go on reconciling, and wait for the outcome", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, fmt.Errorf("resume what: kustomization NAME or source git NAME"))
		}}
	h.add(cmd, "Resume", h.resume)
	cmd.PersistentFlags().BoolVar(&h.wait, "wait", false, "wait for each before going on with the next, instead of resuming all first")
	return cmd
}

type halting func(context.Context, client.Client, kind, []client.Object) error

func (h *suspender) add(cmd *cobra.Command, verb string, do halting) {
	h.kube.add(cmd, h.streams.Env)
	cmd.PersistentFlags().BoolVar(&h.all, "all", false, "every object of the namespace")
	one := func(use, short string, k kind, aliases ...string) *cobra.Command {
		return &cobra.Command{Use: use + " [NAME…]", Aliases: aliases, Short: verb + " " + short,
			RunE: func(c *cobra.Command, args []string) error { return h.run(c, args, k, do) }}
	}
	source := &cobra.Command{Use: "source", Aliases: []string{"sources"}, Short: verb + " sources", Args: none,
		RunE: func(c *cobra.Command, _ []string) error { return usage(c, fmt.Errorf("which source: git NAME")) }}
	source.AddCommand(one("git", "GitRepositories", gitRepositories))
	cmd.AddCommand(one("kustomization", "Kustomizations", kustomizations, "ks"), source)
}

func (h *suspender) run(c *cobra.Command, names []string, k kind, do halting) error {
	if h.all == (len(names) > 0) {
		return usage(c, fmt.Errorf("give NAME… or --all"))
	}
	ctx, cancel := h.kube.deadline(c)
	defer cancel()
	kc, err := h.kube.client()
	if err != nil {
		return err
	}
	objects, err := h.find(ctx, kc, k, names)
	if err != nil {
		return err
	}
	return do(ctx, kc, k, objects)
}

// find reads all objects before any of them is touched, so that a wrong name changes nothing.
func (h *suspender) find(ctx context.Context, c client.Client, k kind, names []string) ([]client.Object, error) {
	if h.all {
		objects, err := k.fetch(ctx, c, h.kube.namespace, "")
		if err == nil && len(objects) == 0 {
			err = &fault.Fault{Code: "SLU-KUBERNETES-008", Hop: fault.HopAPI, Exit: fault.ExitNo,
				Seen: fmt.Sprintf("no %s objects found in %q namespace", k.name, h.kube.namespace), Fix: fix(false)}
		}
		return objects, err
	}
	var objects []client.Object
	for _, name := range names {
		key := types.NamespacedName{Namespace: h.kube.namespace, Name: name}
		o := k.empty()
		if err := c.Get(ctx, key, o); err != nil {
			return nil, notFound(err, k, key)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

func (h *suspender) suspend(ctx context.Context, c client.Client, k kind, objects []client.Object) error {
	for _, o := range objects {
		say(h.streams, "►", "suspending %s %s in %s namespace", strings.ToLower(k.name), o.GetName(), o.GetNamespace())
		annotations := map[string]any{}
		if h.reason != "" {
			annotations[annotationReason] = h.reason
		}
		if err := mergePatch(ctx, c, o, true, annotations); err != nil {
			return err
		}
		say(h.streams, "✔", "%s suspended", strings.ToLower(k.name))
	}
	return nil
}

// resume asks for a reconcile in the same write, so that its outcome can be told from an older one.
func (h *suspender) resume(ctx context.Context, c client.Client, k kind, objects []client.Object) error {
	asked := make([]string, len(objects))
	for i, o := range objects {
		say(h.streams, "►", "resuming %s %s in %s namespace", strings.ToLower(k.name), o.GetName(), o.GetNamespace())
		asked[i] = time.Now().Format(time.RFC3339Nano)
		if err := mergePatch(ctx, c, o, false, map[string]any{meta.ReconcileRequestAnnotation: asked[i], annotationReason: nil}); err != nil {
			return err
		}
		say(h.streams, "✔", "%s resumed", strings.ToLower(k.name))
		if h.wait {
			if err := h.outcome(ctx, c, k, o, asked[i]); err != nil {
				return err
			}
		}
	}
	if h.wait {
		return nil
	}
	var failed error
	for i, o := range objects {
		if err := h.outcome(ctx, c, k, o, asked[i]); err != nil {
			if failed != nil {
				printFailure(h.streams, failed) // the last one is the command's own
			}
			failed = err
		}
	}
	return failed
}

func (h *suspender) outcome(ctx context.Context, c client.Client, k kind, o client.Object, asked string) error {
	key := client.ObjectKeyFromObject(o)
	say(h.streams, "◎", "waiting for %s %s reconciliation", k.name, key.Name)
	r := &reconciler{streams: h.streams, kube: h.kube}
	if err := r.wait(ctx, c, k, key, asked); err != nil {
		return err
	}
	if err := c.Get(ctx, key, o); err != nil {
		return explainKube(err)
	}
	say(h.streams, "✔", "%s %s reconciliation completed", k.name, key.Name)
	say(h.streams, "✔", "%s%s", k.done, k.revision(o))
	return nil
}

// mergePatch sets spec.suspend and annotations; nil removes one.
func mergePatch(ctx context.Context, c client.Client, o client.Object, suspend bool, annotations map[string]any) error {
	patch, err := json.Marshal(map[string]any{
		"spec": map[string]any{"suspend": suspend}, "metadata": map[string]any{"annotations": annotations},
	})
	if err != nil {
		return err
	}
	return explainKube(c.Patch(ctx, o, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("flux")))
}
