package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// getter holds the flags of get.
type getter struct {
	streams  Streams
	kube     kubeFlags
	all      bool
	noHeader bool
	output   string
	watch    bool
	labels   string
	status   []string
	source   bool
}

func newGet(s Streams) *cobra.Command {
	g := &getter{streams: s}
	cmd := &cobra.Command{Use: "get", Short: "Show sources and Kustomizations with their readiness", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, fmt.Errorf("get what: all, kustomizations or sources"))
		}}
	g.kube.add(cmd, s.Env)
	f := cmd.PersistentFlags()
	f.BoolVarP(&g.all, "all-namespaces", "A", false, "objects of every namespace")
	f.BoolVar(&g.noHeader, "no-header", false, "leave the header out")
	f.BoolVarP(&g.watch, "watch", "w", false, "show the objects, then each change of them, until interrupted")
	f.StringVarP(&g.labels, "label-selector", "l", "", "only objects with these labels")
	f.StringSliceVar(&g.status, "status-selector", nil, "only objects with these conditions, ready=false for example")
	f.StringVarP(&g.output, "output", "o", "table", "table, wide, json, yaml or name; with -w json is one event a line")

	show := func(kinds ...kind) func(*cobra.Command, []string) error {
		return func(c *cobra.Command, args []string) error { return g.run(c, args, kinds...) }
	}
	sources := &cobra.Command{Use: "sources", Aliases: []string{"source"}, Short: "Show sources", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, fmt.Errorf("get which sources: git, oci, bucket or all"))
		}}
	sources.AddCommand(
		&cobra.Command{Use: "git [NAME]", Short: "Show GitRepositories", Args: atMostOne, RunE: show(gitRepositories)},
		&cobra.Command{Use: "oci [NAME]", Short: "Show OCIRepositories, which another controller serves", Args: atMostOne, RunE: show(ociRepositories)},
		&cobra.Command{Use: "bucket [NAME]", Short: "Show Buckets, which another controller serves", Args: atMostOne, RunE: show(buckets)},
		&cobra.Command{Use: "all", Short: "Show sources of every kind", Args: none, RunE: show(gitRepositories, ociRepositories, buckets)})
	ks := &cobra.Command{Use: "kustomizations [NAME]", Aliases: []string{"ks", "kustomization"}, Short: "Show Kustomizations", Args: atMostOne, RunE: show(kustomizations)}
	ks.Flags().BoolVar(&g.source, "show-source", false, "show the source that each reads")
	cmd.AddCommand(sources, ks,
		&cobra.Command{Use: "all", Short: "Show sources and Kustomizations", Args: none, RunE: show(gitRepositories, kustomizations)})
	return cmd
}

func atMostOne(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage(c, fmt.Errorf("at most one NAME, got %d", len(args)))
	}
	return nil
}

func (g *getter) run(c *cobra.Command, args []string, kinds ...kind) error {
	if !slices.Contains([]string{"table", "wide", "json", "yaml", "name"}, g.output) {
		return usage(c, fmt.Errorf("unknown output %q: use table, wide, json, yaml or name", g.output))
	}
	if g.watch && g.output == "yaml" {
		return usage(c, fmt.Errorf("--watch has no output yaml: use json, table, wide or name"))
	}
	if _, err := labels.Parse(g.labels); err != nil {
		return usage(c, fmt.Errorf("--label-selector: %w", err))
	}
	if _, err := parseStatusSelector(g.status); err != nil {
		return usage(c, err)
	}
	kc, err := g.kube.client()
	if err != nil {
		return err
	}
	name := ""
	if len(args) == 1 {
		name = args[0]
	}
	if g.watch {
		ctx := c.Context()
		if c.Flags().Changed("timeout") {
			var cancel context.CancelFunc
			ctx, cancel = g.kube.deadline(c)
			defer cancel()
		}
		return g.follow(ctx, kc, name, kinds...)
	}
	ctx, cancel := g.kube.deadline(c)
	defer cancel()
	return g.show(ctx, kc, name, kinds...)
}

// find lists the objects of a kind that the flags ask for.
func (g *getter) find(ctx context.Context, c client.Reader, k kind, name string) ([]client.Object, error) {
	selector, err := labels.Parse(g.labels)
	if err != nil {
		return nil, err
	}
	wanted, err := parseStatusSelector(g.status)
	if err != nil {
		return nil, err
	}
	namespace := g.kube.namespace
	if g.all {
		namespace = ""
	}
	objects, err := k.fetch(ctx, c, namespace, name, client.MatchingLabelsSelector{Selector: selector})
	return slices.DeleteFunc(objects, func(o client.Object) bool { return !wanted.match(k, o) }), err
}

func (g *getter) columns(kinds []kind) columns {
	return columns{namespace: g.all, kind: len(kinds) > 1, source: g.source, wide: g.output == "wide"}
}

// show prints the objects. Nothing to show is exit code 1: the answer is no.
func (g *getter) show(ctx context.Context, c client.Reader, name string, kinds ...kind) error {
	found := make([][]client.Object, len(kinds))
	total := 0
	for i, k := range kinds {
		objects, err := g.find(ctx, c, k, name)
		if err != nil && (len(kinds) == 1 || !apimeta.IsNoMatchError(err)) {
			return err
		}
		found[i] = objects
		total += len(objects)
	}
	if total == 0 {
		return g.nothing(name, kinds)
	}
	if g.output != "table" && g.output != "wide" {
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
		k.table(found[i], g.columns(kinds)).print(g.streams.Out, !g.noHeader)
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
