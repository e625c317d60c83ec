package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/reconcile"
)

// differ compares what build renders with the cluster.
type differ struct {
	builder
	client  client.Client
	changed bool
	sealed  bool
}

func newDiff(s Streams) *cobra.Command {
	d := &differ{builder: builder{streams: s}}
	cmd := &cobra.Command{Use: "diff", Short: "Compare a working copy with the cluster", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, fmt.Errorf("diff what: kustomization NAME"))
		}}
	d.kube.add(cmd, s.Env)
	ks := &cobra.Command{Use: "kustomization NAME", Aliases: []string{"ks"}, Short: "Show what applying a local folder would change", Args: exactly("NAME"),
		Long: "The folder is rendered as by sluice build, and the API server is asked by dry-run what applying it would change.\n" +
			"Nothing is changed. Values of Secrets are masked. Exit codes: 0 nothing differs; 1 something does; above 1 a failure.",
		Example: `  sluice diff kustomization apps --path ./gitops/aks/apps
  sluice diff kustomization apps --path ./gitops/aks/apps --kustomization-file ./gitops/aks/apps.yaml`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := d.kube.deadline(c)
			defer cancel()
			return notOne(d.diff(ctx, c, args[0]))
		}}
	f := ks.Flags()
	f.StringVar(&d.path, "path", "", "folder of the manifests (spec.path)")
	f.StringVar(&d.file, "kustomization-file", "", "manifest of the Kustomization, instead of the cluster's object")
	f.BoolVarP(&d.recursive, "recursive", "r", false, "compare the Kustomizations that are rendered too")
	f.StringToStringVar(&d.localSources, "local-sources", nil, "folders of other sources for --recursive: Kind/namespace/name=path,…")
	f.BoolVar(&d.decrypt, "decrypt", false, "open SOPS documents with the identity at hand, to compare what they hold; it is not shown")
	cmd.AddCommand(ks)
	return cmd
}

// notOne keeps exit code 1 for differences: that a name is wrong must not look like one.
func notOne(err error) error {
	f := fault.From(err)
	if f == nil || fault.ExitCode(err) != fault.ExitNo || f.Err == reconcile.ErrDiffers {
		return err
	}
	told := *f
	told.Exit = fault.ExitUsage
	return &told
}

func (d *differ) diff(ctx context.Context, c *cobra.Command, name string) error {
	kc, err := d.kube.client()
	if err != nil {
		return err
	}
	d.client, d.emit = kc, d.compare
	if err := d.run(ctx, c, name); err != nil {
		return err
	}
	if d.sealed {
		say(d.streams, "◎", "names that are made of sealed values can't be compared without --decrypt")
	}
	if d.changed {
		return &fault.Fault{Code: "SLU-APPLY-091", Hop: fault.HopApply, Seen: reconcile.ErrDiffers.Error(), Exit: fault.ExitNo, Err: reconcile.ErrDiffers}
	}
	return nil
}

// compare prints how the cluster differs from what obj renders to. What obj owns is the cluster's to say, also when a
// manifest was given.
func (d *differ) compare(ctx context.Context, obj *reconcile.Kustomization, objects []*unstructured.Unstructured) error {
	var there kustomizev1.Kustomization
	err := d.client.Get(ctx, client.ObjectKeyFromObject(obj), &there)
	if err != nil && !apierrors.IsNotFound(err) {
		return explainKube(err)
	}
	obj.Status.Inventory = there.Status.Inventory
	found, err := reconcile.Offline{}.Compare(ctx, d.client, obj, objects)
	if err != nil {
		return err
	}
	for _, f := range found {
		glyph := "►"
		if style(d.streams).ASCII {
			glyph = ">"
		}
		fmt.Fprintf(d.streams.Out, "%s %s %s\n", glyph, f.Object, f.Action)
		if f.Action == reconcile.DiffUnknown {
			d.sealed = true
			continue
		}
		d.changed = true
		for _, field := range f.Fields {
			fmt.Fprintf(d.streams.Out, "  %s\n%s%s", field.Path, marked("-", field.Before), marked("+", field.After))
		}
	}
	return nil
}

// marked puts a sign before each line of a value; an absent one has none.
func marked(sign, value string) string {
	if value == "" {
		return ""
	}
	return "    " + sign + " " + strings.ReplaceAll(strings.TrimSuffix(value, "\n"), "\n", "\n    "+sign+" ") + "\n"
}
