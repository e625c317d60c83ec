// Package node runs the controller's Deployment on this machine as a kubelet would on AKS: one host process with the
// arguments and environment of the pod template, the credentials of its ServiceAccount, and, exactly when the pod
// template's label and the ServiceAccount's annotations ask for it, what AKS's workload-identity webhook injects.
//
// It reads the Deployment and the ServiceAccount through the API server and changes neither. It refuses to lend the
// process anything a pod would not have: not the administrator's kubeconfig, not the user's environment, not the
// developer's Azure credentials. The network that a pod has is the platform's proxy.
package node

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// The object that the node runs, and the names of AKS's workload-identity webhook.
const (
	Namespace = "flux-system"
	Name      = "kustomize-controller"
	container = "manager"

	useLabel             = "azure.workload.identity/use"
	clientIDAnnotation   = "azure.workload.identity/client-id"
	tenantIDAnnotation   = "azure.workload.identity/tenant-id"
	expirationAnnotation = "azure.workload.identity/service-account-token-expiration"

	defaultExpiration = 3600
	maxExpiration     = 86400
)

// Pod is what one Deployment and its ServiceAccount ask the node to run.
type Pod struct {
	Args     []string          // of the container, expanded
	Env      map[string]string // of the container, resolved
	Identity *Identity         // nil: the webhook injects nothing
	// Template and Account tie the pod to what it was made from: a change of either means a new pod.
	Template map[string]string
	Account  string   // UID of the ServiceAccount; its tokens die with it
	Skipped  []string `json:"-"` // variables whose sources the node doesn't serve
}

// Identity is what the webhook takes from the ServiceAccount.
type Identity struct {
	ClientID, TenantID string
	Expiration         int64 // seconds of the projected token's life
}

// Desired computes the pod of a Deployment, or nil when none is to run: absent objects, no replicas. tenant is the
// cluster's, for ServiceAccounts that name none.
func Desired(d *appsv1.Deployment, sa *corev1.ServiceAccount, tenant string) (*Pod, error) {
	if d == nil || sa == nil || (d.Spec.Replicas != nil && *d.Spec.Replicas == 0) {
		return nil, nil
	}
	t := d.Spec.Template
	c := managerOf(t.Spec.Containers)
	if c == nil {
		return nil, fmt.Errorf("the Deployment %s/%s has no container", d.Namespace, d.Name)
	}
	p := &Pod{Account: string(sa.UID), Template: map[string]string{}}
	for k, v := range t.Labels {
		p.Template["label "+k] = v
	}
	for k, v := range t.Annotations {
		p.Template["annotation "+k] = v
	}
	p.Env, p.Skipped = environment(c, d)
	for _, a := range c.Args {
		p.Args = append(p.Args, expand(a, p.Env))
	}
	p.Identity = identity(t.Labels, t.Annotations, sa, tenant)
	return p, nil
}

func managerOf(cs []corev1.Container) *corev1.Container {
	if i := slices.IndexFunc(cs, func(c corev1.Container) bool { return c.Name == container }); i >= 0 {
		return &cs[i]
	}
	if len(cs) > 0 {
		return &cs[0]
	}
	return nil
}

// identity decides as the webhook does: by the label of the pod (not of the ServiceAccount), then by the
// ServiceAccount's annotations.
func identity(labels, annotations map[string]string, sa *corev1.ServiceAccount, tenant string) *Identity {
	client := strings.TrimSpace(sa.Annotations[clientIDAnnotation])
	if labels[useLabel] != "true" || client == "" {
		return nil
	}
	id := &Identity{ClientID: client, TenantID: tenant, Expiration: defaultExpiration}
	if t := strings.TrimSpace(sa.Annotations[tenantIDAnnotation]); t != "" {
		id.TenantID = t
	}
	for _, raw := range []string{annotations[expirationAnnotation], sa.Annotations[expirationAnnotation]} {
		if n, err := strconv.ParseInt(raw, 10, 64); err == nil && n >= defaultExpiration && n <= maxExpiration {
			id.Expiration = n
			break
		}
	}
	return id
}

// environment resolves the container's variables in order, as the kubelet does; names whose source it doesn't serve
// are returned in skipped.
func environment(c *corev1.Container, d *appsv1.Deployment) (env map[string]string, skipped []string) {
	env = map[string]string{}
	for _, e := range c.Env {
		switch from := e.ValueFrom; {
		case from == nil:
			env[e.Name] = expand(e.Value, env)
		case from.FieldRef != nil:
			if v, ok := fieldValue(from.FieldRef.FieldPath, d); ok {
				env[e.Name] = v
				continue
			}
			skipped = append(skipped, e.Name)
		case from.ResourceFieldRef != nil:
			if v, ok := resourceValue(from.ResourceFieldRef, c); ok {
				env[e.Name] = v
				continue
			}
			skipped = append(skipped, e.Name)
		default:
			skipped = append(skipped, e.Name)
		}
	}
	return env, skipped
}

func fieldValue(path string, d *appsv1.Deployment) (string, bool) {
	switch path {
	case "metadata.namespace":
		return d.Namespace, true
	case "metadata.name":
		return d.Name, true
	case "spec.serviceAccountName":
		return d.Spec.Template.Spec.ServiceAccountName, true
	case "status.podIP", "status.hostIP":
		return "127.0.0.1", true
	}
	return "", false
}

// resourceValue gives a limit or request as a whole number of the divisor (1 by default), rounded up.
func resourceValue(ref *corev1.ResourceFieldSelector, c *corev1.Container) (string, bool) {
	kind, name, ok := strings.Cut(ref.Resource, ".")
	list := map[string]corev1.ResourceList{"limits": c.Resources.Limits, "requests": c.Resources.Requests}[kind]
	q, has := list[corev1.ResourceName(name)]
	if !ok || !has {
		return "", false
	}
	divisor := ref.Divisor.AsApproximateFloat64()
	if divisor == 0 {
		divisor = 1
	}
	return strconv.FormatInt(int64(math.Ceil(q.AsApproximateFloat64()/divisor)), 10), true
}

// Hash changes whenever the process must be started anew.
func (p *Pod) Hash() string {
	if p == nil {
		return ""
	}
	raw, err := json.Marshal(p) // maps are written in key order
	if err != nil {
		panic(err) // strings and numbers only
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// Variables gives Env as sorted NAME=value pairs.
func (p *Pod) Variables() []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(p.Env)) {
		out = append(out, k+"="+p.Env[k])
	}
	return out
}
