package inventory

import (
	"cmp"
	"strings"
)

// Stage says in which of the rounds an object is applied. Each round is finished, and the first two waited for, before
// the next begins.
type Stage int

// The rounds, as Flux has them.
const (
	Definitions Stage = iota // CustomResourceDefinitions, Namespaces, ClusterRoles: others need them to exist
	Classes                  // kinds that end in Class: others name them
	Early                    // kinds that --custom-apply-stage-kinds names
	Resources                // everything else
)

// String names the stage for messages.
func (s Stage) String() string {
	return [...]string{"definitions", "classes", "custom kinds", "resources"}[s]
}

// Stage returns the round that id belongs to, where no flag says otherwise; never Early.
func (id ID) Stage() Stage {
	switch {
	case id.Kind == "CustomResourceDefinition" && id.Group == "apiextensions.k8s.io",
		id.Kind == "Namespace" && id.Group == "",
		id.Kind == "ClusterRole" && id.Group == RBACGroup:
		return Definitions
	case strings.HasSuffix(id.Kind, "Class"):
		return Classes
	}
	return Resources
}

// first and last are the kinds with a place of their own; all others stand between, sorted by group and kind. It is
// Flux's order, so that both write the same inventory.
var (
	first = []string{
		"CustomResourceDefinition", "Namespace", "ClusterRole",
		"ClusterClass", "RuntimeClass", "PriorityClass", "StorageClass", "VolumeSnapshotClass", "IngressClass", "GatewayClass",
		"ClusterRoleBinding", "ResourceQuota", "ServiceAccount", "Role", "RoleBinding", "ConfigMap", "Secret", "Service",
		"LimitRange", "Deployment", "StatefulSet", "CronJob", "PodDisruptionBudget",
	}
	last = []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
	rank = func() map[string]int {
		m := make(map[string]int, len(first)+len(last))
		for i, kind := range first {
			m[kind] = i - len(first)
		}
		for i, kind := range last {
			m[kind] = i + 1
		}
		return m
	}()
)

// Wave groups the objects of one stage that may be written at the same time: 0 what workloads refer to when they are
// admitted (accounts, quotas, configuration), 1 everything else, 2 admission webhooks, which must not judge the objects
// that make them work.
func (id ID) Wave() int {
	switch r := rank[id.Kind]; {
	case r > 0:
		return 2
	case r < 0 && r <= rank["LimitRange"]:
		return 0
	}
	return 1
}

// Compare orders references as they are applied; pruning goes the other way.
func Compare(a, b ID) int {
	return cmp.Or(
		cmp.Compare(a.Stage(), b.Stage()),
		cmp.Compare(rank[a.Kind], rank[b.Kind]),
		cmp.Compare(a.Group, b.Group),
		cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name),
	)
}
