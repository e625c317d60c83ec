// Package inventory is what a Kustomization owns: a sorted set of object references, in the text form that Flux keeps in
// status.inventory, so that either controller can take over from the other.
//
// It stands between plan (which compares the desired set with the old one) and the Kustomization's status (which stores
// it). It refuses references that it could not write back unchanged, and it knows no Kubernetes client.
package inventory

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// RBACGroup is the API group whose object names may hold colons.
const RBACGroup = "rbac.authorization.k8s.io"

// ID names one object, whatever the version it is served in.
type ID struct {
	Namespace string // empty: cluster-scoped
	Name      string
	Group     string // empty: the core group
	Kind      string
}

// IDOf returns the reference to u.
func IDOf(u *unstructured.Unstructured) ID {
	gk := u.GroupVersionKind().GroupKind()
	return ID{Namespace: u.GetNamespace(), Name: u.GetName(), Group: gk.Group, Kind: gk.Kind}
}

// GroupKind returns the ID's type.
func (id ID) GroupKind() schema.GroupKind { return schema.GroupKind{Group: id.Group, Kind: id.Kind} }

// String gives the stored form, <namespace>_<name>_<group>_<kind>. Colons, which only RBAC names hold, become double
// underscores: cli-utils once stored these strings as ConfigMap keys, and Flux kept the form.
func (id ID) String() string {
	name := id.Name
	if id.rbac() {
		name = strings.ReplaceAll(name, ":", "__")
	}
	return id.Namespace + "_" + name + "_" + id.Group + "_" + id.Kind
}

// Display gives the form for people, <Kind>/<namespace>/<name>, as Flux's messages have it.
func (id ID) Display() string {
	if id.Namespace == "" {
		return id.Kind + "/" + id.Name
	}
	return id.Kind + "/" + id.Namespace + "/" + id.Name
}

// ParseID reads the stored form. A name may hold single underscores only for RBAC kinds, so the namespace is taken up
// to the first underscore, and kind and group from the end.
func ParseID(s string) (ID, error) {
	fail := func(why string) (ID, error) { return ID{}, fmt.Errorf("inventory id %q: %s", s, why) }
	namespace, rest, ok := strings.Cut(s, "_")
	if !ok {
		return fail("not of the form <namespace>_<name>_<group>_<kind>")
	}
	i := strings.LastIndexByte(rest, '_')
	if i < 0 {
		return fail("has no kind")
	}
	rest, kind := rest[:i], rest[i+1:]
	if i = strings.LastIndexByte(rest, '_'); i < 0 {
		return fail("has no group")
	}
	id := ID{Namespace: namespace, Name: rest[:i], Group: rest[i+1:], Kind: kind}
	if id.rbac() {
		id.Name = strings.ReplaceAll(id.Name, "__", ":")
	}
	switch {
	case id.Name == "":
		return fail("has no name")
	case id.Kind == "":
		return fail("has no kind")
	case id.String() != s:
		return fail("is ambiguous")
	}
	return id, nil
}

// Spellings returns the names that the stored form can stand for, the likeliest first. There are several when an RBAC
// name holds colons, because a literal double underscore is stored the same way: each colon may have been one. Of names
// with more than four colons only the two extremes are given.
func (id ID) Spellings() []string {
	parts := strings.Split(id.Name, ":")
	if !id.rbac() || len(parts) == 1 {
		return []string{id.Name}
	}
	if len(parts) > 5 {
		return []string{id.Name, strings.Join(parts, "__")}
	}
	names := []string{parts[0]}
	for _, part := range parts[1:] {
		n := len(names)
		for _, sep := range []string{":", "__"} {
			for _, name := range names[:n] {
				names = append(names, name+sep+part)
			}
		}
		names = names[n:]
	}
	return names
}

func (id ID) rbac() bool {
	if id.Group != RBACGroup {
		return false
	}
	switch id.Kind {
	case "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding":
		return true
	}
	return false
}
