package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/inventory"
)

// branch is an object and what it made.
type branch struct {
	Resource  string   `json:"resource"` // Kind/namespace/name
	Resources []branch `json:"resources,omitempty"`
}

func newTree(s Streams) *cobra.Command {
	var (
		kube    kubeFlags
		compact bool
		output  string
	)
	cmd := &cobra.Command{Use: "tree", Short: "Show what a Kustomization owns", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, fmt.Errorf("tree of what: kustomization NAME"))
		}}
	kube.add(cmd, s.Env)
	ks := &cobra.Command{Use: "kustomization NAME", Aliases: []string{"ks"}, Short: "Show the objects that a Kustomization owns, and those of the Kustomizations among them", Args: exactly("NAME")}
	ks.Flags().BoolVar(&compact, "compact", false, "show Kustomizations alone")
	ks.Flags().StringVarP(&output, "output", "o", "", "json or yaml")
	ks.RunE = func(c *cobra.Command, args []string) error {
		if output != "" && output != "json" && output != "yaml" {
			return usage(c, fmt.Errorf("unknown output %q: use json or yaml", output))
		}
		ctx, cancel := kube.deadline(c)
		defer cancel()
		kc, err := kube.client()
		if err != nil {
			return err
		}
		root, err := grow(ctx, kc, types.NamespacedName{Namespace: kube.namespace, Name: args[0]}, compact, map[types.NamespacedName]bool{})
		if err != nil {
			return err
		}
		switch output {
		case "json":
			enc := json.NewEncoder(s.Out)
			enc.SetIndent("", "    ")
			return enc.Encode(root)
		case "yaml":
			text, err := yaml.Marshal(root)
			if err != nil {
				return err
			}
			_, err = s.Out.Write(text)
			return err
		}
		fmt.Fprintln(s.Out, root.Resource)
		root.print(s.Out, "")
		return nil
	}
	cmd.AddCommand(ks)
	return cmd
}

// grow reads a Kustomization's inventory and those of the Kustomizations in it. seen ends the recursion where one owns
// itself, as a cluster's root does.
func grow(ctx context.Context, c client.Reader, key types.NamespacedName, compact bool, seen map[types.NamespacedName]bool) (branch, error) {
	b := branch{Resource: "Kustomization/" + key.String()}
	var k kustomizev1.Kustomization
	if err := c.Get(ctx, key, &k); err != nil {
		if len(seen) > 0 && apierrors.IsNotFound(err) {
			return b, nil // it is owned, and gone
		}
		return b, notFound(err, kustomizations, key)
	}
	seen[key] = true
	set, err := inventory.FromStatus(k.Status.Inventory)
	if err != nil {
		return b, err
	}
	for _, e := range set.Entries() {
		child := types.NamespacedName{Namespace: e.Namespace, Name: e.Name}
		switch {
		case e.Group == kustomizev1.GroupVersion.Group && e.Kind == kustomizev1.KustomizationKind:
			if seen[child] {
				continue
			}
			sub, err := grow(ctx, c, child, compact, seen)
			if err != nil {
				return b, err
			}
			b.Resources = append(b.Resources, sub)
		case !compact:
			b.Resources = append(b.Resources, branch{Resource: e.Display()})
		}
	}
	return b, nil
}

func (b branch) print(w io.Writer, indent string) {
	for i, r := range b.Resources {
		fork, deeper := "├── ", "│   "
		if i == len(b.Resources)-1 {
			fork, deeper = "└── ", "    "
		}
		fmt.Fprintln(w, indent+fork+r.Resource)
		r.print(w, indent+deeper)
	}
}
