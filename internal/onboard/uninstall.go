package onboard

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/crds"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// finalizer is Flux's, which Sluice sets too.
const finalizer = "finalizers.fluxcd.io"

// Removal is one uninstall.
type Removal struct {
	Client        client.Client // with Scheme
	Namespace     string
	KeepNamespace bool
	DryRun        bool // say what would go, and change nothing
	Say           Say
}

// Uninstall takes Sluice out of a cluster: the controller first, so that nothing prunes; then the finalizers of its
// objects, so that they go without one; then roles, definitions (and with them the objects) and the namespace. What the
// controller applied stays as it is, unless it lives in the namespace that goes. Beside Flux's other controllers, with
// KeepNamespace, the controller goes with its own rights and nothing else: definitions, Kustomizations and what serves
// the sources are there for who comes next.
func Uninstall(ctx context.Context, u Removal) error {
	alone, err := u.alone(ctx)
	if err != nil {
		return err
	}
	if !alone {
		return u.fromAmongFlux(ctx)
	}
	u.Say("►", "deleting components in %s namespace", u.Namespace)
	if err := u.controller(ctx); err != nil {
		return err
	}
	inNamespace := []client.ObjectList{&corev1.ServiceList{}, &networkingv1.NetworkPolicyList{}, &corev1.ServiceAccountList{}}
	for _, list := range inNamespace {
		if err := u.labelled(ctx, list, client.InNamespace(u.Namespace)); err != nil {
			return err
		}
	}
	for _, list := range []client.ObjectList{&rbacv1.ClusterRoleBindingList{}, &rbacv1.ClusterRoleList{}} {
		if err := u.labelled(ctx, list); err != nil {
			return err
		}
	}
	u.Say("►", "deleting toolkit.fluxcd.io finalizers in all namespaces")
	for _, def := range crds.All() {
		if err := u.finalizers(ctx, def); err != nil {
			return err
		}
	}
	u.Say("►", "deleting toolkit.fluxcd.io custom resource definitions")
	for _, def := range crds.All() {
		if err := u.remove(ctx, &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: def.Name}}); err != nil {
			return err
		}
	}
	if !u.KeepNamespace {
		if err := u.remove(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: u.Namespace}}); err != nil {
			return err
		}
	}
	u.Say("✔", "uninstall finished")
	return nil
}

// alone tells whether no controller of Flux's needs the definitions and the namespace. Where one does, Sluice may go
// from beside it, if that is what was asked for.
func (u Removal) alone(ctx context.Context) (bool, error) {
	all, err := controllers(ctx, u.Client)
	if err != nil {
		return false, err
	}
	var others []string
	here := false
	for _, d := range all {
		if isSluice(&d) && d.Namespace == u.Namespace {
			here = true
			continue
		}
		others = append(others, d.Namespace+"/"+d.Name)
	}
	if len(others) == 0 || here && u.KeepNamespace {
		return len(others) == 0, nil
	}
	fix := "name Sluice's namespace: --namespace NAME"
	if here {
		fix = "sluice uninstall --keep-namespace -n " + u.Namespace + " takes Sluice's controller alone; flux uninstall removes Flux's controllers and Sluice together"
	}
	return false, &fault.Fault{Code: "SLU-KUBERNETES-035", Hop: fault.HopAPI, Exit: fault.ExitNo, Seen: "other controllers use the same definitions: " + strings.Join(others, ", "),
		Why: "without them their objects would go too", Fix: fix}
}

// fromAmongFlux takes the controller and what is its alone. The roles stay: others' bindings may name them.
func (u Removal) fromAmongFlux(ctx context.Context) error {
	u.Say("►", "deleting Sluice's controller in %s namespace; Flux's controllers, the definitions and all objects stay", u.Namespace)
	if err := u.controller(ctx); err != nil {
		return err
	}
	mine := metav1.ObjectMeta{Namespace: u.Namespace, Name: controller}
	for _, o := range []client.Object{&networkingv1.NetworkPolicy{ObjectMeta: mine}, &corev1.ServiceAccount{ObjectMeta: mine}} {
		if err := u.remove(ctx, o); err != nil {
			return err
		}
	}
	for _, name := range []string{"cluster-reconciler-" + u.Namespace, "crd-controller-" + u.Namespace} {
		var b rbacv1.ClusterRoleBinding
		err := u.Client.Get(ctx, client.ObjectKey{Name: name}, &b)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err != nil || slices.ContainsFunc(b.Subjects, func(s rbacv1.Subject) bool { return s.Name != controller }) {
			continue
		}
		if err := u.remove(ctx, &b); err != nil {
			return err
		}
	}
	follow := controller
	err := u.Client.Get(ctx, client.ObjectKey{Namespace: u.Namespace, Name: sourceController}, &appsv1.Deployment{})
	switch {
	case apierrors.IsNotFound(err):
		follow = sourceController + "," + controller
	case err != nil:
		return err
	}
	u.Say("◎", "the objects keep their finalizers for the controllers that follow: flux install --components=%s -n %s, or sluice install", follow, u.Namespace)
	u.Say("✔", "uninstall finished")
	return nil
}

// controller deletes the Deployment and waits for the end of its pods.
func (u Removal) controller(ctx context.Context) error {
	var d appsv1.Deployment
	err := u.Client.Get(ctx, client.ObjectKey{Namespace: u.Namespace, Name: controller}, &d)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if u.DryRun {
		return u.remove(ctx, &d)
	}
	if err := removeFlux(ctx, u.Client, []appsv1.Deployment{d}, func(string, string, ...any) {}); err != nil {
		return err
	}
	u.Say("✔", "Deployment/%s/%s deleted", u.Namespace, d.Name)
	return nil
}

// labelled deletes what a component manifest brought, by its labels.
func (u Removal) labelled(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	opts = append(opts, client.MatchingLabels{"app.kubernetes.io/part-of": "flux", "app.kubernetes.io/instance": u.Namespace})
	if err := u.Client.List(ctx, list, opts...); err != nil {
		return err
	}
	objects, err := apimeta.ExtractList(list)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := u.remove(ctx, o.(client.Object)); err != nil {
			return err
		}
	}
	return nil
}

func (u Removal) remove(ctx context.Context, o client.Object) error {
	gvk, err := u.Client.GroupVersionKindFor(o)
	if err != nil {
		return err
	}
	opts := []client.DeleteOption{client.PropagationPolicy(metav1.DeletePropagationBackground)}
	if u.DryRun {
		opts = append(opts, client.DryRunAll)
	}
	switch err := u.Client.Delete(ctx, o, opts...); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	}
	u.said(gvk.Kind, o)
	return nil
}

func (u Removal) said(kind string, o client.Object) {
	name := o.GetName()
	if o.GetNamespace() != "" {
		name = o.GetNamespace() + "/" + name
	}
	dry := ""
	if u.DryRun {
		dry = " (dry run)"
	}
	u.Say("✔", "%s/%s deleted%s", kind, name, dry)
}

// finalizers takes our finalizer from every object of a definition; another's finalizer stays, and its owner's work.
func (u Removal) finalizers(ctx context.Context, def *apiextensionsv1.CustomResourceDefinition) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: def.Spec.Group, Version: "v1", Kind: def.Spec.Names.ListKind})
	err := u.Client.List(ctx, list)
	if apimeta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, o := range list.Items {
		kept := slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == finalizer })
		if len(kept) == len(o.GetFinalizers()) {
			continue
		}
		// The version goes along: whoever changed the object meanwhile may have added a finalizer of their own.
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": kept, "resourceVersion": o.GetResourceVersion()}})
		if err != nil {
			return err
		}
		opts := []client.PatchOption{client.FieldOwner("flux")}
		if u.DryRun {
			opts = append(opts, client.DryRunAll)
		}
		if err := u.Client.Patch(ctx, &o, client.RawPatch(types.MergePatchType, patch), opts...); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("%s: %w", name(&o), err)
		}
		dry := ""
		if u.DryRun {
			dry = " (dry run)"
		}
		u.Say("✔", "%s finalizers deleted%s", name(&o), dry)
	}
	return nil
}
