package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/reconcile"
	"github.com/sluice-gitops/sluice/internal/source"
)

// builder holds the flags of build kustomization, which are Flux's.
type builder struct {
	streams      Streams
	kube         kubeFlags
	path         string
	file         string
	dryRun       bool
	recursive    bool
	localSources map[string]string
	decrypt      bool

	// emit gets what each Kustomization renders to.
	emit func(context.Context, *reconcile.Kustomization, []*unstructured.Unstructured) error
}

func newBuild(s Streams) *cobra.Command {
	b := &builder{streams: s}
	b.emit = func(_ context.Context, _ *reconcile.Kustomization, objects []*unstructured.Unstructured) error {
		for _, u := range objects {
			if err := printManifest(s.Out, u); err != nil {
				return err
			}
		}
		return nil
	}
	cmd := &cobra.Command{Use: "build", Short: "Render offline what the controller would apply", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, fmt.Errorf("build what: kustomization NAME"))
		}}
	b.kube.add(cmd, s.Env)
	ks := &cobra.Command{Use: "kustomization NAME", Aliases: []string{"ks"}, Short: "Render a Kustomization from a local folder", Args: exactly("NAME"),
		Long: "It is the controller's own code on your working copy. Values that sops has sealed are masked unless --decrypt is given.",
		Example: `  sluice build kustomization apps --path ./gitops/aks/apps
  sluice build kustomization apps --path ./gitops/aks/apps --kustomization-file ./gitops/aks/apps.yaml --dry-run`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := b.kube.deadline(c)
			defer cancel()
			return b.run(ctx, c, args[0])
		}}
	f := ks.Flags()
	f.StringVar(&b.path, "path", "", "folder of the manifests (spec.path)")
	f.StringVar(&b.file, "kustomization-file", "", "manifest of the Kustomization, instead of the cluster's object")
	f.BoolVar(&b.dryRun, "dry-run", false, "ask no cluster: variables of substituteFrom stay unknown")
	f.BoolVarP(&b.recursive, "recursive", "r", false, "render the Kustomizations that are rendered too")
	f.StringToStringVar(&b.localSources, "local-sources", nil, "folders of other sources for --recursive: Kind/namespace/name=path,…")
	f.BoolVar(&b.decrypt, "decrypt", false, "open SOPS documents with the identity at hand, and show what they hold")
	cmd.AddCommand(ks)
	return cmd
}

func (b *builder) run(ctx context.Context, c *cobra.Command, name string) error {
	if b.path == "" {
		return usage(c, fmt.Errorf("--path is missing: the folder of the manifests"))
	}
	if b.dryRun && b.file == "" {
		return usage(c, fmt.Errorf("--dry-run needs --kustomization-file: no cluster is asked for the object"))
	}
	var reader client.Reader
	if !b.dryRun {
		kc, err := b.kube.client()
		if err != nil {
			return err
		}
		reader = kc
	}
	obj, err := b.object(ctx, reader, name)
	if err != nil {
		return err
	}
	root, rel, err := repositoryOf(b.path)
	if err != nil {
		return err
	}
	obj.Spec.Path = rel
	return b.render(ctx, reader, obj, root, map[types.NamespacedName]bool{})
}

// object is the Kustomization to render: the manifest's, else the cluster's.
func (b *builder) object(ctx context.Context, reader client.Reader, name string) (*reconcile.Kustomization, error) {
	key := types.NamespacedName{Namespace: b.kube.namespace, Name: name}
	if b.file == "" {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind))
		if err := reader.Get(ctx, key, u); err != nil {
			return nil, notFound(err, kustomizations, key)
		}
		return reconcile.FromUnstructured(u)
	}
	manifest, err := os.ReadFile(b.file)
	if err != nil {
		return nil, &fault.Fault{Code: "SLU-USAGE-011", Hop: fault.HopUsage, File: b.file, Seen: "the manifest cannot be read", Why: err.Error(), Fix: "correct --kustomization-file", Err: err}
	}
	obj, err := reconcile.ParseKustomization(manifest)
	if err != nil {
		return nil, err
	}
	if obj.Name != name {
		return nil, &fault.Fault{Code: "SLU-USAGE-012", Hop: fault.HopUsage, File: b.file, Seen: "the manifest holds Kustomization " + obj.Name + ", not " + name,
			Fix: "sluice build kustomization " + obj.Name + " …"}
	}
	if obj.Namespace == "" {
		obj.Namespace = key.Namespace
	}
	return obj, nil
}

// render emits obj's objects, and with --recursive those of the Kustomizations among them. seen keeps a Kustomization
// that renders itself, as a cluster's root does, from doing so for ever.
func (b *builder) render(ctx context.Context, reader client.Reader, obj *reconcile.Kustomization, root string, seen map[types.NamespacedName]bool) error {
	seen[client.ObjectKeyFromObject(obj)] = true
	tree, err := source.DirTree(root)
	if err != nil {
		return &fault.Fault{Code: "SLU-USAGE-013", Hop: fault.HopUsage, File: root, Seen: "the folder cannot be read", Why: err.Error(), Fix: "correct --path or --local-sources", Err: err}
	}
	objects, err := reconcile.Offline{Tree: tree, Reader: reader, Decrypt: b.decrypt}.Build(ctx, obj)
	if err != nil {
		return err
	}
	if err := b.emit(ctx, obj, objects); err != nil {
		return err
	}
	for _, u := range objects {
		if !b.recursive || u.GroupVersionKind().GroupKind() != kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind).GroupKind() {
			continue
		}
		child, err := reconcile.FromUnstructured(u)
		if err != nil {
			return err
		}
		if seen[client.ObjectKeyFromObject(child)] {
			continue
		}
		from, err := b.sourceOf(child, obj, root)
		if err != nil {
			return err
		}
		if err := b.render(ctx, reader, child, from, seen); err != nil {
			return err
		}
	}
	return nil
}

// sourceOf is the folder that a child reads: its parent's when both name one source, else one of --local-sources.
func (b *builder) sourceOf(child, parent *reconcile.Kustomization, root string) (string, error) {
	ref := child.Spec.SourceRef
	if ref.Namespace == "" {
		ref.Namespace = child.Namespace
	}
	mine := parent.Spec.SourceRef
	if mine.Namespace == "" {
		mine.Namespace = parent.Namespace
	}
	name := ref.Kind + "/" + ref.Namespace + "/" + ref.Name
	if dir, ok := b.localSources[name]; ok {
		return dir, nil
	}
	if ref.Kind == mine.Kind && ref.Namespace == mine.Namespace && ref.Name == mine.Name {
		return root, nil
	}
	return "", &fault.Fault{Code: "SLU-USAGE-014", Hop: fault.HopUsage, Object: "Kustomization/" + child.Namespace + "/" + child.Name,
		Seen: "its source " + name + " is not on this machine", Fix: "--local-sources " + name + "=DIR"}
}

func printManifest(w io.Writer, u *unstructured.Unstructured) error {
	text, err := yaml.Marshal(u.Object)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "---\n%s", text)
	return err
}

// repositoryOf finds the repository that a folder stands in, so that bases beside it can be reached, and the folder's
// path in it. A folder outside of any is a repository of its own.
func repositoryOf(dir string) (root, rel string, err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", "", err
	}
	if info, err := os.Stat(abs); err != nil || !info.IsDir() {
		return "", "", &fault.Fault{Code: "SLU-USAGE-015", Hop: fault.HopUsage, File: dir, Seen: "--path names no folder", Fix: "give the folder that spec.path stands for", Err: err}
	}
	for at := abs; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, ".git")); err == nil {
			rel, err := filepath.Rel(at, abs)
			return at, "./" + strings.TrimPrefix(filepath.ToSlash(rel), "./"), err
		}
		if at == filepath.Dir(at) {
			return abs, "./", nil
		}
	}
}
