package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// reconciler holds the flags of reconcile.
type reconciler struct {
	streams    Streams
	kube       kubeFlags
	withSource bool
}

func newReconcile(s Streams) *cobra.Command {
	r := &reconciler{streams: s}
	cmd := &cobra.Command{Use: "reconcile", Short: "Ask for a reconciliation now and wait for its outcome", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, fmt.Errorf("reconcile what: kustomization NAME, source git NAME or all"))
		}}
	r.kube.add(cmd, s.Env)
	ks := &cobra.Command{Use: "kustomization NAME", Aliases: []string{"ks"}, Short: "Reconcile a Kustomization", Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error { return r.run(c, r.kustomization(args[0])) }}
	ks.Flags().BoolVar(&r.withSource, "with-source", false, "reconcile its source first")
	source := &cobra.Command{Use: "source", Aliases: []string{"sources"}, Short: "Reconcile a source", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, fmt.Errorf("reconcile which source: git NAME"))
		}}
	source.AddCommand(&cobra.Command{Use: "git NAME", Short: "Reconcile a GitRepository", Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			return r.run(c, r.gitRepository(args[0], r.kube.namespace))
		}})
	cmd.AddCommand(ks, source, newReconcileAll(r))
	return cmd
}

type reconciliation func(ctx context.Context, c client.Client) error

func (r *reconciler) run(c *cobra.Command, do reconciliation) error {
	ctx, cancel := r.kube.deadline(c)
	defer cancel()
	kc, err := r.kube.client()
	if err != nil {
		return err
	}
	return do(ctx, kc)
}

func (r *reconciler) kustomization(name string) reconciliation {
	return func(ctx context.Context, c client.Client) error {
		key := types.NamespacedName{Namespace: r.kube.namespace, Name: name}
		if r.withSource {
			var ks kustomizev1.Kustomization
			if err := c.Get(ctx, key, &ks); err != nil {
				return notFound(err, kustomizations, key)
			}
			ref := ks.Spec.SourceRef
			if ref.Kind != sourcev1.GitRepositoryKind {
				return &fault.Fault{Code: "SLU-USAGE-002", Hop: fault.HopUsage, Object: ref.String(), Seen: "only a GitRepository can be reconciled",
					Fix: "leave --with-source out"}
			}
			namespace := ref.Namespace
			if namespace == "" {
				namespace = key.Namespace
			}
			if err := r.gitRepository(ref.Name, namespace)(ctx, c); err != nil {
				return err
			}
		}
		return r.one(ctx, c, kustomizations, key)
	}
}

func (r *reconciler) gitRepository(name, namespace string) reconciliation {
	return func(ctx context.Context, c client.Client) error {
		return r.one(ctx, c, gitRepositories, types.NamespacedName{Namespace: namespace, Name: name})
	}
}

// one annotates the object and waits until the controller has handled the request, telling each step as flux does.
func (r *reconciler) one(ctx context.Context, c client.Client, k kind, key types.NamespacedName) error {
	o := k.empty()
	if err := c.Get(ctx, key, o); err != nil {
		return notFound(err, k, key)
	}
	if suspended, _, _ := k.spec(o); suspended {
		return &fault.Fault{Code: "SLU-KUBERNETES-010", Hop: fault.HopAPI, Object: k.name + "/" + key.String(), Seen: "it is suspended", Why: o.GetAnnotations()[annotationReason], Exit: fault.ExitNo,
			Fix: fmt.Sprintf("sluice resume %s %s -n %s", k.argument(), key.Name, key.Namespace)}
	}
	r.say("►", "annotating %s %s in %s namespace", k.name, key.Name, key.Namespace)
	asked := time.Now().Format(time.RFC3339Nano)
	if err := ask(ctx, c, o, asked); err != nil {
		return err
	}
	r.say("✔", "%s annotated", k.name)
	r.say("◎", "waiting for %s reconciliation", k.name)
	if err := r.wait(ctx, c, k, key, asked); err != nil {
		return err
	}
	if err := c.Get(ctx, key, o); err != nil {
		return explainKube(err)
	}
	r.say("✔", "%s%s", k.done, k.revision(o))
	return nil
}

// ask annotates an object with a request, which says when it was made.
func ask(ctx context.Context, c client.Client, o client.Object, at string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{meta.ReconcileRequestAnnotation: at}}})
	if err != nil {
		return err
	}
	return explainKube(c.Patch(ctx, o, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("flux")))
}

// wait polls until the request is handled and the verdict is final.
func (r *reconciler) wait(ctx context.Context, c client.Client, k kind, key types.NamespacedName, asked string) error {
	object := k.name + "/" + key.String()
	last := "nothing was reported yet"
	for {
		o := k.empty()
		if err := c.Get(ctx, key, o); err != nil && ctx.Err() == nil {
			return notFound(err, k, key)
		}
		_, _, handled := k.spec(o)
		status, message := k.readyAndMessage(o)
		if ctx.Err() == nil {
			last = oneLine(message)
		}
		if handled == asked && status != "Unknown" {
			if status == "True" {
				return nil
			}
			return notReady(object, message)
		}
		select {
		case <-ctx.Done():
			return &fault.Fault{Code: "SLU-HEALTH-020", Hop: fault.HopHealth, Object: object, Seen: "no outcome within " + r.kube.timeout.String(),
				Why: "last seen: " + last, Fix: "see the controller's log, or wait longer: --timeout 15m", Exit: fault.ExitTimeout, Err: ctx.Err()}
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (r *reconciler) say(glyph, format string, args ...any) { say(r.streams, glyph, format, args...) }

// say tells a step on stderr, with flux's glyphs.
func say(s Streams, glyph, format string, args ...any) {
	if style(s).ASCII {
		glyph = map[string]string{"►": ">", "✔": "ok", "◎": "..", "✗": "x", "⚠": "!"}[glyph]
	}
	fmt.Fprintf(s.Err, glyph+" "+format+"\n", args...)
}

func notFound(err error, k kind, key types.NamespacedName) error {
	if !apierrors.IsNotFound(err) {
		return explainKube(err)
	}
	return &fault.Fault{Code: "SLU-KUBERNETES-008", Hop: fault.HopAPI, Exit: fault.ExitNo, Err: err,
		Seen: fmt.Sprintf("%s object '%s' not found in %q namespace", k.name, key.Name, key.Namespace), Fix: "look into every namespace: sluice get all -A"}
}
