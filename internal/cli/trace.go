package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// tracer holds the flags of trace.
type tracer struct {
	streams          Streams
	kube             kubeFlags
	kind, apiVersion string
}

func newTrace(s Streams) *cobra.Command {
	t := &tracer{streams: s}
	cmd := &cobra.Command{Use: "trace NAME", Short: "Say which Kustomization and source an object comes from", Args: exactly("NAME"),
		Example: "  sluice trace podinfo --kind Deployment --api-version apps/v1 -n apps"}
	t.kube.add(cmd, s.Env)
	cmd.Flags().StringVar(&t.kind, "kind", "", "kind of the object, Deployment for example")
	cmd.Flags().StringVar(&t.apiVersion, "api-version", "", "its API version, apps/v1 for example")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		gv, err := schema.ParseGroupVersion(t.apiVersion)
		if err != nil || t.kind == "" || t.apiVersion == "" {
			return usage(c, fmt.Errorf("--kind and --api-version say which object: --kind Deployment --api-version apps/v1"))
		}
		ctx, cancel := t.kube.deadline(c)
		defer cancel()
		kc, err := t.kube.client()
		if err != nil {
			return err
		}
		return t.trace(ctx, kc, gv.WithKind(t.kind), args[0])
	}
	return cmd
}

func (t *tracer) trace(ctx context.Context, c client.Reader, gvk schema.GroupVersionKind, name string) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	key := client.ObjectKey{Namespace: t.kube.namespace, Name: name}
	if err := c.Get(ctx, key, u); err != nil {
		if apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) {
			return &fault.Fault{Code: "SLU-KUBERNETES-008", Hop: fault.HopAPI, Exit: fault.ExitNo, Err: err,
				Seen: fmt.Sprintf("%s object '%s' not found in %q namespace", gvk.Kind, name, key.Namespace), Fix: "correct --kind, --api-version or -n"}
		}
		return explainKube(err)
	}
	owner, ok := plan.OwnerOf(u)
	if !ok {
		return &fault.Fault{Code: "SLU-KUBERNETES-012", Hop: fault.HopAPI, Exit: fault.ExitNo, Object: gvk.Kind + "/" + key.String(),
			Seen: "object not managed by Flux or Sluice", Why: "it carries no owner labels"}
	}
	t.block("Object", gvk.Kind+"/"+name, "Namespace", u.GetNamespace(), "Status", "Managed by Kustomization")
	var k kustomizev1.Kustomization
	if err := c.Get(ctx, client.ObjectKey{Namespace: owner.Namespace, Name: owner.Name}, &k); err != nil {
		return notFound(err, kustomizations, client.ObjectKey{Namespace: owner.Namespace, Name: owner.Name})
	}
	status, message := reconciled(k.Status.Conditions)
	fmt.Fprintln(t.streams.Out, "---")
	t.block("Kustomization", k.Name, "Namespace", k.Namespace, "Target", k.Spec.TargetNamespace, "Path", k.Spec.Path,
		"Revision", k.Status.LastAppliedRevision, "Status", status, "Message", message)
	ref := k.Spec.SourceRef
	if ref.Kind != sourcev1.GitRepositoryKind {
		fmt.Fprintln(t.streams.Out, "---")
		t.block(ref.Kind, ref.Name, "Namespace", orElse(ref.Namespace, k.Namespace))
		return nil
	}
	var g sourcev1.GitRepository
	at := client.ObjectKey{Namespace: orElse(ref.Namespace, k.Namespace), Name: ref.Name}
	if err := c.Get(ctx, at, &g); err != nil {
		return notFound(err, gitRepositories, at)
	}
	branch, tag := "", ""
	if r := g.Spec.Reference; r != nil {
		branch, tag = r.Branch, orElse(r.Tag, r.SemVer)
	}
	status, message = reconciled(g.Status.Conditions)
	fmt.Fprintln(t.streams.Out, "---")
	t.block("GitRepository", g.Name, "Namespace", g.Namespace, "URL", g.Spec.URL, "Branch", branch, "Tag", tag,
		"Revision", artifactRevision(g.Status.Artifact), "Status", status, "Message", message)
	return nil
}

// block prints pairs of a name and a value, empty values left out.
func (t *tracer) block(pairs ...string) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(t.streams.Out, "%-15s%s\n", pairs[i]+":", oneLine(strings.TrimSpace(pairs[i+1])))
		}
	}
}

// reconciled says since when the Ready condition is what it is.
func reconciled(conditions []metav1.Condition) (status, message string) {
	c := apimeta.FindStatusCondition(conditions, meta.ReadyCondition)
	switch {
	case c == nil:
		return "Unknown", ""
	case c.Status == metav1.ConditionTrue:
		return "Last reconciled at " + c.LastTransitionTime.Format(time.RFC3339), c.Message
	}
	return "Last reconciliation failed at " + c.LastTransitionTime.Format(time.RFC3339), c.Message
}
