package onboard

import (
	"context"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// keepShared copies the bindings that Flux's other controllers share with its kustomize-controller, and the roles that
// these name, before Sluice's of the same names replace them: Sluice's speak for kustomize-controller alone, and what
// stays of Flux would lose its rights. The copies have the names that bootstrap gives them in the repository.
func keepShared(ctx context.Context, c client.Client, components []*unstructured.Unstructured, say Say) error {
	for _, o := range components {
		if o.GetKind() != "ClusterRoleBinding" {
			continue
		}
		var b rbacv1.ClusterRoleBinding
		err := c.Get(ctx, client.ObjectKeyFromObject(o), &b)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		others := slices.DeleteFunc(slices.Clone(b.Subjects), func(s rbacv1.Subject) bool { return s.Name == controller })
		if err != nil || len(others) == 0 || strings.HasSuffix(b.Name, sharedSuffix) {
			continue
		}
		ref := b.RoleRef
		if shared(components, ref.Name) {
			var role rbacv1.ClusterRole
			if err := c.Get(ctx, client.ObjectKey{Name: ref.Name}, &role); err != nil {
				return err
			}
			ref.Name += sharedSuffix
			kept := rbacv1.ClusterRole{Rules: role.Rules, AggregationRule: role.AggregationRule}
			kept.Name, kept.Labels = ref.Name, role.Labels
			if err := create(ctx, c, &kept, say); err != nil {
				return err
			}
		}
		kept := rbacv1.ClusterRoleBinding{RoleRef: ref, Subjects: others}
		kept.Name, kept.Labels = b.Name+sharedSuffix, b.Labels
		if err := create(ctx, c, &kept, say); err != nil {
			return err
		}
	}
	return nil
}

const sharedSuffix = "-others"

func shared(components []*unstructured.Unstructured, role string) bool {
	return slices.ContainsFunc(components, func(o *unstructured.Unstructured) bool { return o.GetKind() == "ClusterRole" && o.GetName() == role })
}

// create makes an object unless there is one of its name.
func create(ctx context.Context, c client.Client, o client.Object, say Say) error {
	err := c.Create(ctx, o, client.FieldOwner(fieldManager))
	if err == nil {
		say("✔", "%s keeps what Flux's other controllers may do", o.GetName())
	}
	return client.IgnoreAlreadyExists(err)
}
