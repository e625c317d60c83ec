package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func newExport(s Streams) *cobra.Command {
	var kube kubeFlags
	var all bool
	cmd := &cobra.Command{Use: "export", Short: "Print objects as manifests for a repository", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, fmt.Errorf("export what: kustomization or source git, NAME or --all"))
		}}
	kube.add(cmd, s.Env)
	cmd.PersistentFlags().BoolVar(&all, "all", false, "every object of the namespace")
	one := func(use, short string, k kind, aliases ...string) *cobra.Command {
		return &cobra.Command{Use: use + " [NAME]", Aliases: aliases, Short: short, Args: atMostOne, RunE: func(c *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return usage(c, fmt.Errorf("give NAME or --all"))
			}
			ctx, cancel := kube.deadline(c)
			defer cancel()
			kc, err := kube.client()
			if err != nil {
				return err
			}
			return export(ctx, s, kc, kube, k, strings.Join(args, ""))
		}}
	}
	source := &cobra.Command{Use: "source", Aliases: []string{"sources"}, Short: "Print sources", Args: none,
		RunE: func(c *cobra.Command, _ []string) error { return usage(c, fmt.Errorf("which source: git")) }}
	source.AddCommand(one("git", "Print GitRepositories", gitRepositories))
	cmd.AddCommand(one("kustomization", "Print Kustomizations", kustomizations, "ks", "kustomizations"), source)
	return cmd
}

// export prints what a repository would hold: no status, and nothing that the cluster or a request added.
func export(ctx context.Context, s Streams, c client.Reader, kube kubeFlags, k kind, name string) error {
	objects, err := k.fetch(ctx, c, kube.namespace, name)
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		return (&getter{kube: kube}).nothing(name, []kind{k})
	}
	for _, o := range objects {
		doc, err := k.document(o)
		if err != nil {
			return err
		}
		metadata := map[string]any{"name": o.GetName(), "namespace": o.GetNamespace()}
		annotations := o.GetAnnotations()
		delete(annotations, corev1.LastAppliedConfigAnnotation)
		delete(annotations, meta.ReconcileRequestAnnotation)
		if len(annotations) > 0 {
			metadata["annotations"] = annotations
		}
		if labels := o.GetLabels(); len(labels) > 0 {
			metadata["labels"] = labels
		}
		manifest := map[string]any{"apiVersion": doc["apiVersion"], "kind": doc["kind"], "metadata": metadata, "spec": doc["spec"]}
		if err := printManifest(s.Out, &unstructured.Unstructured{Object: manifest}); err != nil {
			return err
		}
	}
	return nil
}
