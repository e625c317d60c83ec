package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// cause is what a rule knows about an error.
type cause struct {
	number   string // last part of the fault's code
	why, fix string
	systemic bool // the API server or the way to it is at fault, not the object
}

// rules explain errors; the first that recognises one counts. said is the redacted text.
var rules = []func(id inventory.ID, err error, said string) (cause, bool){
	timedOut, unreachable, unauthorized, unserving,
	unknownKind, webhookDenied, webhookBroken, policyDenied,
	namespaceGoing, quota, podSecurity, escalation, forbidden,
	namespaceMissing, tooLarge, immutableField, badType, invalidObject, conflict, missing,
}

func timedOut(_ inventory.ID, err error, _ string) (cause, bool) {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return cause{"001", "the time of this reconcile was over", "Raise spec.timeout of the Kustomization, or see whether the API server is slow: kubectl get --raw /readyz?verbose", true}, true
	case errors.Is(err, context.Canceled):
		return cause{"002", "the reconcile was cancelled", "Nothing: it is tried again.", true}, true
	}
	return cause{}, false
}

func unreachable(_ inventory.ID, err error, _ string) (cause, bool) {
	var netErr net.Error
	if apierrors.ReasonForError(err) == "" && errors.As(err, &netErr) {
		return cause{"003", "the API server can't be reached", "kubectl get --raw /readyz?verbose", true}, true
	}
	return cause{}, false
}

func unauthorized(_ inventory.ID, err error, _ string) (cause, bool) {
	if apierrors.IsUnauthorized(err) {
		return cause{"004", "the API server does not accept our credentials", "kubectl auth whoami", true}, true
	}
	return cause{}, false
}

func unserving(_ inventory.ID, err error, _ string) (cause, bool) {
	if apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) {
		return cause{"005", "the API server is overloaded or restarting", "Nothing, if it passes: it is tried again. Else: kubectl get --raw /readyz?verbose", true}, true
	}
	return cause{}, false
}

func unknownKind(id inventory.ID, err error, _ string) (cause, bool) {
	if !unserved(err) && !unrouted(err) {
		return cause{}, false
	}
	group := firstOf(id.Group, "core")
	return cause{
		number: "002",
		why:    fmt.Sprintf("the API server serves no %s in group %s in the manifest's version: its CustomResourceDefinition is not installed, or the version is gone", id.Kind, group),
		fix:    "Apply the CustomResourceDefinition in this Kustomization or in one that it dependsOn; see what is served: kubectl api-resources --api-group=" + id.Group,
	}, true
}

var (
	deniedBy = lazyregexp.New(`admission webhook "([^"]+)" denied the request`)
	failedBy = lazyregexp.New(`failed calling webhook "([^"]+)"`)
	policyBy = lazyregexp.New(`ValidatingAdmissionPolicy '([^']+)'`)
)

func webhookDenied(_ inventory.ID, _ error, said string) (cause, bool) {
	if m := deniedBy.FindStringSubmatch(said); m != nil {
		return cause{number: "004", why: "the admission webhook " + m[1] + " does not allow it", fix: "Change the manifest so that " + m[1] + " allows it, or the webhook's policy; which configuration it belongs to: kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations -o yaml | grep -B20 " + m[1]}, true
	}
	return cause{}, false
}

func webhookBroken(_ inventory.ID, _ error, said string) (cause, bool) {
	if m := failedBy.FindStringSubmatch(said); m != nil {
		return cause{number: "005", why: "the admission webhook " + m[1] + " does not answer", fix: "See whether its service runs, and its certificate is valid: kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations -o yaml | grep -A20 " + m[1]}, true
	}
	return cause{}, false
}

func policyDenied(_ inventory.ID, _ error, said string) (cause, bool) {
	if m := policyBy.FindStringSubmatch(said); m != nil {
		return cause{number: "021", why: "the admission policy " + m[1] + " does not allow it", fix: "kubectl get validatingadmissionpolicy " + m[1] + " -o yaml"}, true
	}
	return cause{}, false
}

func namespaceGoing(id inventory.ID, err error, _ string) (cause, bool) {
	if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return cause{}, false
	}
	return cause{number: "009", why: "namespace " + id.Namespace + " is being deleted, and takes nothing new until it is gone",
		fix: "kubectl get namespace " + id.Namespace + " -o jsonpath='{.status.conditions}'"}, true
}

func quota(id inventory.ID, err error, said string) (cause, bool) {
	if !apierrors.IsForbidden(err) || !strings.Contains(said, "exceeded quota") && !strings.Contains(said, "failed quota") {
		return cause{}, false
	}
	return cause{number: "010", why: "a ResourceQuota of namespace " + id.Namespace + " leaves no room", fix: "kubectl describe resourcequota -n " + id.Namespace}, true
}

func podSecurity(id inventory.ID, err error, said string) (cause, bool) {
	if !apierrors.IsForbidden(err) || !strings.Contains(said, "violates PodSecurity") {
		return cause{}, false
	}
	return cause{number: "019", why: "the pod security level that namespace " + id.Namespace + " enforces does not allow it", fix: "kubectl get namespace " + id.Namespace + " --show-labels, and change the pod's securityContext or the label pod-security.kubernetes.io/enforce"}, true
}

func escalation(_ inventory.ID, err error, said string) (cause, bool) {
	if !apierrors.IsForbidden(err) || !strings.Contains(said, "attempting to grant RBAC permissions not currently held") {
		return cause{}, false
	}
	return cause{number: "020", why: "nobody can grant rights that they don't hold themselves", fix: "Grant the applying user these rights first, or the verbs escalate and bind on roles."}, true
}

var deniedTo = lazyregexp.New(`User "([^"]+)" cannot (\w+) resource "([^"]+)" in API group "([^"]*)" (?:in the namespace "([^"]+)"|at the cluster scope)`)

func forbidden(id inventory.ID, err error, said string) (cause, bool) {
	if !apierrors.IsForbidden(err) {
		return cause{}, false
	}
	m := deniedTo.FindStringSubmatch(said)
	if m == nil {
		return cause{number: "003", why: "the API server forbids it", fix: "kubectl auth can-i --list -n " + firstOf(id.Namespace, "default")}, true
	}
	user, verb, resource, group, namespace := m[1], m[2], m[3], m[4], m[5]
	if group != "" {
		resource += "." + group
	}
	name := "apply-" + strings.NewReplacer("/", "-", ".", "-").Replace(resource)
	subject := "--user=" + user
	if account, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
		subject = "--serviceaccount=" + account
	}
	rights := " --verb=get,list,watch,create,update,patch,delete --resource=" + resource
	if namespace == "" || resource == "namespaces" { // a namespace counts as inside itself, but a role there does not help
		return cause{number: "003", why: user + " may not " + verb + " " + resource + " in the cluster",
			fix: "kubectl create clusterrole " + name + rights + " && kubectl create clusterrolebinding " + name + " --clusterrole=" + name + " " + subject}, true
	}
	return cause{number: "003", why: user + " may not " + verb + " " + resource + " in namespace " + namespace,
		fix: "kubectl create role " + name + " -n " + namespace + rights + " && kubectl create rolebinding " + name + " -n " + namespace + " --role=" + name + " " + subject}, true
}

var noSuchNamespace = lazyregexp.New(`namespaces "([^"]+)" not found`)

func namespaceMissing(id inventory.ID, err error, said string) (cause, bool) {
	m := noSuchNamespace.FindStringSubmatch(said)
	if !apierrors.IsNotFound(err) || m == nil {
		return cause{}, false
	}
	return cause{number: "001", why: "namespace " + m[1] + " does not exist", fix: "Add a Namespace manifest to this Kustomization, or: kubectl create namespace " + m[1]}, true
}

func tooLarge(_ inventory.ID, err error, said string) (cause, bool) {
	if !apierrors.IsRequestEntityTooLargeError(err) && !strings.Contains(said, "Too long: may not be more than") && !strings.Contains(said, "request is too large") {
		return cause{}, false
	}
	return cause{number: "016", why: "the object is larger than the API server stores (about 1 MiB)", fix: "Split the object."}, true
}

func immutableField(_ inventory.ID, err error, _ string) (cause, bool) {
	if !plan.Immutable(err) {
		return cause{}, false
	}
	return cause{number: "007", why: "a field that can't be changed differs from the live object's",
		fix: "Undo the change of that field, or let the object be deleted and created anew: set annotation " + plan.KeyForce + ": enabled in the manifest, or spec.force of the Kustomization."}, true
}

func badType(id inventory.ID, _ error, said string) (cause, bool) {
	for _, words := range []string{"failed to create typed patch object", "field not declared in schema", "cannot unmarshal", "illegal base64", "unable to convert", "expected map, got", "in patch type"} {
		if strings.Contains(said, words) {
			return cause{number: "011", why: "the manifest has a field that the kind does not know, or a value of the wrong type", fix: "Correct the field that the message names; what the kind takes: kubectl explain " + strings.ToLower(id.Kind) + " --recursive"}, true
		}
	}
	return cause{}, false
}

func invalidObject(_ inventory.ID, err error, _ string) (cause, bool) {
	if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
		return cause{}, false
	}
	return cause{number: "006", why: "the manifest breaks a rule of its kind", fix: "Correct the field that the message names."}, true
}

func conflict(id inventory.ID, err error, _ string) (cause, bool) {
	if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
		return cause{}, false
	}
	return cause{number: "008", why: "someone else wrote the object at the same time, again and again", fix: "Find the other writer: kubectl get " + strings.ToLower(id.Kind) + " " + id.Name + in(id) + " --show-managed-fields -o yaml"}, true
}

func missing(_ inventory.ID, err error, _ string) (cause, bool) {
	if !apierrors.IsNotFound(err) {
		return cause{}, false
	}
	return cause{number: "014", why: "something that the object needs does not exist", fix: "Apply what the message names before, in this Kustomization or in one that it dependsOn."}, true
}
