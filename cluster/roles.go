package main

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	rbacv1apply "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/client-go/kubernetes"
)

// kwokUser is whom kwok's certificate names.
const kwokUser = "system:kwok"

// ensureKwokRole lets kwok play nodes and their pods, and no more. Kubernetes' own components bring their roles along.
func ensureKwokRole(ctx context.Context, c kubernetes.Interface) error {
	opts := metav1.ApplyOptions{FieldManager: "sluice-cluster", Force: true}
	role := rbacv1apply.ClusterRole(kwokUser).WithRules(
		rule("", []string{"nodes", "pods"}, "get", "list", "watch", "update", "patch", "delete"),
		rule("", []string{"nodes/status", "pods/status"}, "update", "patch"),
		rule("", []string{"events"}, "create", "patch"),
		rule("events.k8s.io", []string{"events"}, "create", "patch"),
	)
	if _, err := c.RbacV1().ClusterRoles().Apply(ctx, role, opts); err != nil {
		return fmt.Errorf("role of kwok: %w", err)
	}
	binding := rbacv1apply.ClusterRoleBinding(kwokUser).
		WithRoleRef(rbacv1apply.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(kwokUser)).
		WithSubjects(rbacv1apply.Subject().WithAPIGroup(rbacv1.GroupName).WithKind(rbacv1.UserKind).WithName(kwokUser))
	if _, err := c.RbacV1().ClusterRoleBindings().Apply(ctx, binding, opts); err != nil {
		return fmt.Errorf("role binding of kwok: %w", err)
	}
	return nil
}

func rule(group string, resources []string, verbs ...string) *rbacv1apply.PolicyRuleApplyConfiguration {
	return rbacv1apply.PolicyRule().WithAPIGroups(group).WithResources(resources...).WithVerbs(verbs...)
}
