package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// getter holds the flags of get.
type getter struct {
	streams  Streams
	kube     kubeFlags
	all      bool
	noHeader bool
	output   string
}

func newGet(s Streams) *cobra.Command {
	g := &getter{streams: s}
	cmd := &cobra.Command{Use: "get", Short: "Show sources and Kustomizations with their readiness", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, fmt.Errorf("get what: all, kustomizations or sources git"))
		}}
	g.kube.add(cmd, s.Env)
	f := cmd.PersistentFlags()
	f.BoolVarP(&g.all, "all-namespaces", "A", false, "objects of every namespace")
	f.BoolVar(&g.noHeader, "no-header", false, "leave the header out")
	f.StringVarP(&g.output, "output", "o", "table", "table, json or yaml")

	sources := &cobra.Command{Use: "sources", Aliases: []string{"source"}, Short: "Show sources", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, fmt.Errorf("get which sources: git"))
		}}
	sources.AddCommand(&cobra.Command{Use: "git [NAME]", Short: "Show GitRepositories", Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error { return g.run(c, args, gitRepositories) }})
	cmd.AddCommand(sources,
		&cobra.Command{Use: "kustomizations [NAME]", Aliases: []string{"ks", "kustomization"}, Short: "Show Kustomizations", Args: atMostOne,
			RunE: func(c *cobra.Command, args []string) error { return g.run(c, args, kustomizations) }},
		&cobra.Command{Use: "all", Short: "Show sources and Kustomizations", Args: none,
			RunE: func(c *cobra.Command, args []string) error { return g.run(c, args, gitRepositories, kustomizations) }})
	return cmd
}

func atMostOne(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage(c, fmt.Errorf("at most one NAME, got %d", len(args)))
	}
	return nil
}

func (g *getter) run(c *cobra.Command, args []string, kinds ...kind) error {
	if g.output != "table" && g.output != "json" && g.output != "yaml" {
		return usage(c, fmt.Errorf("unknown output %q: use table, json or yaml", g.output))
	}
	ctx, cancel := g.kube.deadline(c)
	defer cancel()
	kc, err := g.kube.client()
	if err != nil {
		return err
	}
	name := ""
	if len(args) == 1 {
		name = args[0]
	}
	return g.show(ctx, kc, name, kinds...)
}

// show prints the objects. Nothing to show is exit code 1: the answer is no.
func (g *getter) show(ctx context.Context, c client.Reader, name string, kinds ...kind) error {
	namespace := g.kube.namespace
	if g.all {
		namespace = ""
	}
	found := make([][]client.Object, len(kinds))
	total := 0
	for i, k := range kinds {
		objects, err := k.fetch(ctx, c, namespace, name)
		if err != nil {
			return err
		}
		found[i] = objects
		total += len(objects)
	}
	if total == 0 {
		return g.nothing(name, kinds)
	}
	if g.output != "table" {
		return g.encode(name, kinds, found)
	}
	shown := false
	for i, k := range kinds {
		if len(found[i]) == 0 {
			continue
		}
		if shown {
			fmt.Fprintln(g.streams.Out)
		}
		k.table(found[i], g.all, len(kinds) > 1).print(g.streams.Out, !g.noHeader)
		shown = true
	}
	return nil
}

func (g *getter) nothing(name string, kinds []kind) error {
	where := fmt.Sprintf("%q namespace", g.kube.namespace)
	if g.all {
		where = "any namespace"
	}
	what := kinds[0].name
	for _, k := range kinds[1:] {
		what += " or " + k.name
	}
	text := fmt.Sprintf("no %s objects found in %s", what, where)
	if name != "" {
		text = fmt.Sprintf("%s object '%s' not found in %s", what, name, where)
	}
	return &fault.Fault{Code: "SLU-KUBERNETES-008", Hop: fault.HopAPI, Seen: text, Exit: fault.ExitNo, Fix: fix(g.all)}
}

func fix(all bool) string {
	if all {
		return ""
	}
	return "look into every namespace: sluice get all -A"
}

// encode prints one object for a name, and a v1 List otherwise.
func (g *getter) encode(name string, kinds []kind, found [][]client.Object) error {
	items := []any{}
	for i, k := range kinds {
		for _, o := range found[i] {
			m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
			if err != nil {
				return err
			}
			m["apiVersion"], m["kind"] = k.version, k.name
			delete(m["metadata"].(map[string]any), "managedFields")
			items = append(items, m)
		}
	}
	var doc any = map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{}, "items": items}
	if name != "" && len(items) == 1 {
		doc = items[0]
	}
	if g.output == "yaml" {
		raw, err := yaml.Marshal(doc)
		if err != nil {
			return err
		}
		_, err = g.streams.Out.Write(raw)
		return err
	}
	enc := json.NewEncoder(g.streams.Out)
	enc.SetIndent("", "    ")
	enc.SetEscapeHTML(false)
	return enc.Encode(doc)
}
